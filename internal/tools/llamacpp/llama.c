// Measures llama.cpp on a GGUF file and prints JSON; compare.mjs builds it against the prebuilt library and runs it:
//
//   llama LIBRARIES MODEL THREADS speed PREFILL DECODE BATCH     best of 3 of each, tokens/s
//   llama LIBRARIES MODEL THREADS logits ID…                     the logits after the ids
//
// C and not the Node binding that comes with the library, because only here the threads can be kept from one call to the
// next, as llama.cpp's own programs do. The binding leaves llama.cpp to start new ones for every token, which two
// processors may take ten times the token's own time for.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "llama.h"

enum { RUNS = 3, BATCH = 512 };

static struct llama_model *model;
static int threads, vocabulary;
static struct ggml_threadpool *pool;

static void fail(const char *what) {
    fprintf(stderr, "llama.cpp: %s\n", what);
    exit(1);
}

static void quiet(enum ggml_log_level level, const char *text, void *data) {
    (void)data;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

// token returns ids spread over the vocabulary (xorshift).
static llama_token token(void) {
    static uint32_t x = 1;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x % vocabulary;
}

static struct llama_context *new_context(int tokens, int sequences, bool unified) {
    struct llama_context_params p = llama_context_default_params();
    p.n_ctx = tokens;
    p.n_batch = p.n_ubatch = BATCH;
    p.n_seq_max = sequences;
    p.n_threads = p.n_threads_batch = threads;
    p.kv_unified = unified;
    struct llama_context *c = llama_init_from_model(model, p);
    if (!c) fail("no context");
    llama_attach_threadpool(c, pool, NULL);
    return c;
}

static void add(struct llama_batch *b, llama_token id, int position, int sequence, bool logits) {
    int i = b->n_tokens++;
    b->token[i] = id;
    b->pos[i] = position;
    b->n_seq_id[i] = 1;
    b->seq_id[i][0] = sequence;
    b->logits[i] = logits;
}

static void decode(struct llama_context *c, struct llama_batch *b) {
    if (llama_decode(c, *b)) fail("llama_decode");
    llama_synchronize(c);
    b->n_tokens = 0;
}

// prefill computes ids in sequence 0, with the logits of the last.
static void prefill(struct llama_context *c, struct llama_batch *b, const llama_token *ids, int n) {
    for (int i = 0; i < n; i++) {
        add(b, ids[i], i, 0, i == n - 1);
        if (b->n_tokens == BATCH || i == n - 1) decode(c, b);
    }
}

// step computes one token of each sequence, with its logits.
static void step(struct llama_context *c, struct llama_batch *b, int position, int sequences) {
    for (int s = 0; s < sequences; s++) add(b, token(), position, s, true);
    decode(c, b);
}

// generate returns the seconds steps take of which none is the first after the prompt: that one makes the copies of
// the prompt, for sequences that don't share it.
static double generate(struct llama_context *c, struct llama_batch *b, int prompt, int steps, int sequences) {
    llama_memory_t memory = llama_get_memory(c);
    llama_memory_seq_rm(memory, 0, prompt, -1);
    for (int s = 1; s < sequences; s++) {
        llama_memory_seq_rm(memory, s, -1, -1);
        llama_memory_seq_cp(memory, 0, s, -1, -1);
    }
    step(c, b, prompt, sequences);
    double start = now();
    for (int i = 1; i <= steps; i++) step(c, b, prompt + i, sequences);
    return now() - start;
}

// rate is the best of RUNS of generating, in tokens/s.
static double rate(const llama_token *ids, int prompt, int steps, int sequences, bool unified) {
    int copies = unified ? 1 : sequences, cells = (prompt + 255) / 256 * 256 * copies + (steps + 1 + 255) / 256 * 256 * sequences;
    struct llama_context *c = new_context(cells, sequences, unified);
    struct llama_batch b = llama_batch_init(BATCH, 0, 1);
    double best = 0;
    prefill(c, &b, ids, prompt);
    for (int run = 0; run < RUNS; run++) {
        double r = (double)steps * sequences / generate(c, &b, prompt, steps, sequences);
        if (r > best) best = r;
    }
    llama_batch_free(b);
    llama_free(c);
    return best;
}

static double prefill_rate(const llama_token *ids, int prompt) {
    struct llama_context *c = new_context(prompt, 1, false);
    struct llama_batch b = llama_batch_init(BATCH, 0, 1);
    double best = 0;
    prefill(c, &b, ids, prompt); // brings the file into memory
    for (int run = 0; run < RUNS; run++) {
        llama_memory_clear(llama_get_memory(c), false);
        double start = now();
        prefill(c, &b, ids, prompt);
        double r = prompt / (now() - start);
        if (r > best) best = r;
    }
    llama_batch_free(b);
    llama_free(c);
    return best;
}

static void print_logits(char **ids, int n) {
    struct llama_context *c = new_context(n, 1, false);
    struct llama_batch b = llama_batch_init(n, 0, 1);
    for (int i = 0; i < n; i++) add(&b, atoi(ids[i]), i, 0, i == n - 1);
    decode(c, &b);
    const float *logits = llama_get_logits_ith(c, -1);
    for (int i = 0; i < vocabulary; i++) printf("%s%.9g", i ? "," : "{\"logits\":[", logits[i]);
    puts("]}");
}

// backend is the file name of the processor's library that was chosen, read from what is mapped.
static void print_backend(void) {
    char line[4096], *name;
    FILE *f = fopen("/proc/self/maps", "r");
    while (f && fgets(line, sizeof line, f)) {
        if (!(name = strstr(line, "libggml-cpu-"))) continue;
        name[strcspn(name, "\n")] = 0;
        printf("\"backend\":\"%s\",\"system\":\"%s\"", name, llama_print_system_info());
        break;
    }
    if (f) fclose(f);
}

int main(int argc, char **argv) {
    if (argc < 6) fail("usage: llama LIBRARIES MODEL THREADS speed PREFILL DECODE BATCH");
    llama_log_set(quiet, NULL);
    ggml_backend_load_all_from_path(argv[1]);
    struct llama_model_params p = llama_model_default_params();
    p.n_gpu_layers = 0;
    p.load_mode = LLAMA_LOAD_MODE_MMAP;
    if (!(model = llama_model_load_from_file(argv[2], p))) fail("no model");
    vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
    threads = atoi(argv[3]);

    ggml_backend_reg_t cpu = ggml_backend_dev_backend_reg(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
    struct ggml_threadpool *(*new_pool)(struct ggml_threadpool_params *);
    *(void **)&new_pool = ggml_backend_reg_get_proc_address(cpu, "ggml_threadpool_new");
    struct ggml_threadpool_params t = ggml_threadpool_params_default(threads);
    if (!new_pool || !(pool = new_pool(&t))) fail("no threads");

    if (!strcmp(argv[4], "logits")) {
        print_logits(argv + 5, argc - 5);
    } else if (argc == 8) {
        int prompt = atoi(argv[5]), steps = atoi(argv[6]), batch = atoi(argv[7]);
        llama_token *ids = malloc(prompt * sizeof *ids);
        for (int i = 0; i < prompt; i++) ids[i] = token();
        printf("{\"prefill\":%.3f,", prefill_rate(ids, prompt));
        printf("\"decode\":%.3f,", rate(ids, prompt, steps, 1, false));
        if (batch) {
            printf("\"shared\":%.3f,", rate(ids, prompt, steps, batch, true));
            printf("\"copied\":%.3f,", rate(ids, prompt, steps, batch, false));
        }
        print_backend();
        puts("}");
    }
    fflush(stdout);
    _Exit(0); // not waiting for the library to be taken down
}
