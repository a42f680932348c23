package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// interrupts is how a command takes SIGINT for itself, as chat does while it writes an answer.
type interrupts struct {
	mu   sync.Mutex
	take func() bool
}

type interruptsKey struct{}

// withSignals returns a context that the first SIGINT or SIGTERM cancels, so that journals and temporary files are
// closed in order; a second one ends the process at once. The returned function gives signals back.
func withSignals(parent context.Context) (context.Context, func()) {
	in := &interrupts{}
	ctx, cancel := context.WithCancel(context.WithValue(parent, interruptsKey{}, in))
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				if s != os.Interrupt || !in.taken() {
					cancel()
				}
			}
		}
	}()
	return ctx, cancel
}

// taken lets the command have the signal; false when it doesn't want it.
func (in *interrupts) taken() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.take != nil && in.take()
}

// takeInterrupts hands SIGINT to take, until the returned function is called. Where take returns false, the program
// ends as it does otherwise.
func takeInterrupts(ctx context.Context, take func() bool) (release func()) {
	in, ok := ctx.Value(interruptsKey{}).(*interrupts)
	if !ok {
		return func() {}
	}
	set := func(f func() bool) {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.take = f
	}
	set(take)
	return func() { set(nil) }
}
