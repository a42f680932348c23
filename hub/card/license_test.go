package card

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folder writes files into a new folder. The licence's text itself is not ours to ship: its title is enough to know it by.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const llamaTitle = "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nLlama 3.2 Version Release Date: September 25, 2024\n"

func TestFindLicense(t *testing.T) {
	for name, k := range map[string]struct {
		files map[string]string
		base  string
		given string
		id    string
		llama string
	}{
		"nothing":             {nil, "", "", "unknown", ""},
		"given":               {nil, "", "mit", "mit", ""},
		"the card":            {map[string]string{"README.md": "---\nlicense: apache-2.0\n---\n# x\n"}, "", "mit", "apache-2.0", ""},
		"a list":              {map[string]string{"README.md": "---\nlicense: [mit, apache-2.0]\n---\n"}, "", "", "mit", ""},
		"no header":           {map[string]string{"README.md": "# x\nlicense: mit\n"}, "", "", "unknown", ""},
		"the Llama text":      {map[string]string{"LICENSE.txt": llamaTitle}, "", "", "llama3.2", "3.2"},
		"and what it's given": {map[string]string{"LICENSE.txt": llamaTitle}, "", "mit", "llama3.2", "3.2"},
		"card and text":       {map[string]string{"LICENSE": llamaTitle, "README.md": "---\r\nlicense: llama3.2\r\n---\r\n"}, "", "", "llama3.2", "3.2"},
		"a name is a hint":    {nil, "models/llama-3.2-1b", "apache-2.0", "apache-2.0", ""},
		"a name of its own":   {nil, "models/random-llama3", "", "unknown", ""},
	} {
		l, err := FindLicense(folder(t, k.files), k.base, k.given)
		if err != nil || l.ID != k.id || l.Llama != k.llama {
			t.Errorf("%s: %q %q, %v", name, l.ID, l.Llama, err)
		}
	}
	other, err := FindLicense(folder(t, map[string]string{"README.md": "---\nlicense: other\nlicense_name: mine\nlicense_link: LICENSE\n---\n", "LICENSE": "mine", "NOTICE": "n"}), "", "")
	if err != nil || other.Name != "mine" || other.Link != "LICENSE" || len(other.Files) != 2 {
		t.Errorf("%+v, %v", other, err)
	}
}

// TestLlamaWithoutText: whatever says that the model is Llama's, a missing text is an error with the remedy.
func TestLlamaWithoutText(t *testing.T) {
	for name, k := range map[string]struct {
		files map[string]string
		base  string
	}{
		"its card": {map[string]string{"README.md": "---\nlicense: llama3.2\n---\n"}, ""},
		"its id":   {nil, "meta-llama/Llama-3.2-1B"},
		"its path": {nil, "/models/Llama-3.2-1B-Instruct"},
		"a notice": {map[string]string{"README.md": "---\nlicense: llama3.2\n---\n", "NOTICE": llamaTitle}, ""},
	} {
		_, err := FindLicense(folder(t, k.files), k.base, "")
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "LICENSE.txt") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLlamaRules(t *testing.T) {
	l, err := FindLicense(folder(t, map[string]string{"LICENSE.txt": llamaTitle, "USE_POLICY.md": "be good"}), "", "")
	if err != nil {
		t.Fatal(err)
	}
	const notice = "Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright © Meta Platforms, Inc. All Rights Reserved."
	files := map[string]string{}
	for _, f := range l.Files {
		files[f.Name] = string(f.Data)
	}
	if files["Notice"] != notice+"\n" || files["LICENSE.txt"] != llamaTitle || files["USE_POLICY.md"] == "" {
		t.Errorf("shipped: %q", files)
	}
	c := sample(t, func(c *Card) { c.License = l })
	if _, err := c.Render(); err == nil || !strings.Contains(err.Error(), "alice/Llama-better") {
		t.Errorf("a name without Llama: %v", err)
	}
	c.Repo = "alice/Llama-better"
	h, body := render(t, c)
	if h["license"] != "llama3.2" || !strings.Contains(body, "\n**Built with Llama**\n") || !strings.Contains(body, notice) {
		t.Errorf("%v\n%s", h, body)
	}

	card, _ := c.Render()
	files["README.md"] = string(card)
	check := func(repo string, without string) error {
		var names []string
		for name := range files {
			if name != without {
				names = append(names, name)
			}
		}
		return l.CheckFolder(repo, names, func(name string) ([]byte, error) { return []byte(files[name]), nil })
	}
	if err := check("alice/Llama-better", ""); err != nil {
		t.Error(err)
	}
	for _, without := range []string{"LICENSE.txt", "Notice", "README.md"} {
		if err := check("alice/Llama-better", without); err == nil || !strings.Contains(err.Error(), without) {
			t.Errorf("without %s: %v", without, err)
		}
	}
	if err := check("alice/better", ""); err == nil {
		t.Error("a name without Llama passes")
	}
	again, err := FindLicense(folder(t, map[string]string{"LICENSE.txt": llamaTitle, "NOTICE.txt": "by alice"}), "", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range again.Files {
		if isNotice(f.Name) && string(f.Data) != "by alice\n"+notice+"\n" {
			t.Errorf("the base's notice became %q", f.Data)
		}
	}
}
