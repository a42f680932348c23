package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestKilledHubKeepsItsWord kills a hub with SIGKILL again and again while commits of two files each, one of them through
// LFS, are made as fast as it takes them. After every restart each commit that was acknowledged is in the history, with
// both files; one that was under way is there with both or with none; and every file has the content it was sent with.
func TestKilledHubKeepsItsWord(t *testing.T) {
	dir := t.TempDir()
	const writers, kills = 3, 6
	var (
		mu    sync.Mutex
		acked = map[string]string{} // commit → the name its files begin with
		next  int
	)
	random := rand.New(rand.NewPCG(1, 2))
	for round := range kills {
		hub := startHub(t, dir)
		if round == 0 {
			if _, err := hubCall(hub, "POST", "/api/repos/create", `{"name":"m"}`); err != nil {
				t.Fatal(err)
			}
		}
		var wait sync.WaitGroup
		for range writers {
			wait.Go(func() {
				for {
					mu.Lock()
					next++
					name := fmt.Sprint("f", next)
					mu.Unlock()
					id, err := commitPair(hub, name)
					if err != nil {
						return // the hub is dead
					}
					mu.Lock()
					acked[id] = name
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(50+random.IntN(250)) * time.Millisecond)
		if err := hub.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		hub.Wait()
		wait.Wait()
		checkPairs(t, startHub(t, dir), acked)
		if t.Failed() {
			return
		}
	}
	if len(acked) < 3*kills {
		t.Errorf("only %d commits between %d kills", len(acked), kills)
	}
	t.Logf("%d commits were acknowledged between %d kills", len(acked), kills)
}

// hubCall sends a request as alice and returns the body of a good answer.
func hubCall(hub *hubProcess, method, path, body string) ([]byte, error) {
	if !strings.HasPrefix(path, "http") {
		path = hub.url + path
	}
	req, err := http.NewRequest(method, path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer hf_test")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	}
	return data, err
}

// pair is the content of a commit's LFS file; that of the other is its name.
func pair(name string) string { return strings.Repeat(name, 5000) }

func commitPair(hub *hubProcess, name string) (id string, err error) {
	content := pair(name)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	data, err := hubCall(hub, "POST", "/alice/m.git/info/lfs/objects/batch", fmt.Sprintf(`{"operation":"upload","objects":[{"oid":%q,"size":%d}]}`, sum, len(content)))
	if err != nil {
		return "", err
	}
	var batch struct {
		Objects []struct {
			Actions struct{ Upload struct{ Href string } }
		}
	}
	if err := json.Unmarshal(data, &batch); err != nil {
		return "", err
	}
	if _, err := hubCall(hub, "PUT", batch.Objects[0].Actions.Upload.Href, content); err != nil {
		return "", err
	}
	data, err = hubCall(hub, "POST", "/api/models/alice/m/commit/main", fmt.Sprintf(`{"key":"header","value":{"summary":%q}}
{"key":"lfsFile","value":{"path":"%[1]s.bin","oid":%[2]q}}
{"key":"file","value":{"path":"%[1]s.txt","encoding":"base64","content":%[3]q}}`, name, sum, base64.StdEncoding.EncodeToString([]byte(name))))
	if err != nil {
		return "", err
	}
	var made struct{ CommitOid string }
	err = json.Unmarshal(data, &made)
	return made.CommitOid, err
}

// checkPairs looks at everything a hub holds after a restart.
func checkPairs(t *testing.T, hub *hubProcess, acked map[string]string) {
	t.Helper()
	defer func() {
		hub.Process.Kill()
		hub.Wait()
	}()
	var commits []struct{ ID, Title string }
	data, err := hubCall(hub, "GET", "/api/models/alice/m/commits/main?limit=1000", "")
	if err == nil {
		err = json.Unmarshal(data, &commits)
	}
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for _, c := range commits[:len(commits)-1] { // the last is the initial one
		known[c.ID] = c.Title
		for suffix, want := range map[string]string{".bin": pair(c.Title), ".txt": c.Title} {
			got, err := hubCall(hub, "GET", "/alice/m/resolve/"+c.ID+"/"+c.Title+suffix, "")
			if err != nil || string(got) != want {
				t.Errorf("%s%s has %d bytes, want %d; %v", c.Title, suffix, len(got), len(want), err)
			}
		}
	}
	for id, name := range acked {
		if known[id] != name {
			t.Errorf("the commit of %s was acknowledged and is lost", name)
		}
	}
	data, err = hubCall(hub, "GET", "/api/models/alice/m?expand=siblings", "")
	var info struct{ Siblings []any }
	if err == nil {
		err = json.Unmarshal(data, &info)
	}
	if want := 2*len(known) + 1; err != nil || len(info.Siblings) != want {
		t.Errorf("%d files, want %d for %d commits; %v", len(info.Siblings), want, len(known), err)
	}
}
