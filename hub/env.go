package hub

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// home is HF_HOME, or where the official clients put it.
func home() string {
	if dir := expand(os.Getenv("HF_HOME")); dir != "" {
		return dir
	}
	if dir := expand(os.Getenv("XDG_CACHE_HOME")); dir != "" {
		return filepath.Join(dir, "huggingface")
	}
	user, err := os.UserHomeDir()
	if err != nil {
		user = os.TempDir()
	}
	return filepath.Join(user, ".cache", "huggingface")
}

// expand replaces a leading ~ and $NAMEs, as the official clients do in their variables.
func expand(path string) string {
	path = os.ExpandEnv(path)
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if user, err := os.UserHomeDir(); err == nil {
			return filepath.Join(user, rest)
		}
	}
	return path
}

// CacheDir is the folder the official clients share their downloads in: HF_HUB_CACHE, or hub in HF_HOME.
func CacheDir() string {
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if dir := expand(os.Getenv(name)); dir != "" {
			return dir
		}
	}
	return filepath.Join(home(), "hub")
}

// TokenPath is the file the official clients keep the token in: HF_TOKEN_PATH, or token in HF_HOME.
func TokenPath() string {
	if path := expand(os.Getenv("HF_TOKEN_PATH")); path != "" {
		return path
	}
	return filepath.Join(home(), "token")
}

// LookupToken finds the token and says where ("HF_TOKEN" or the file's path): the environment first, then TokenPath.
// Both are "" when there is none. The error never holds the token.
func LookupToken() (token, source string, err error) {
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if token := strings.TrimSpace(os.Getenv(name)); token != "" {
			return token, name, checkToken(token, name)
		}
	}
	path := TokenPath()
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", "", nil
	} else if err != nil {
		return "", "", fmt.Errorf("read the token: %w", err)
	}
	if token = strings.TrimSpace(string(data)); token == "" {
		return "", "", nil
	}
	return token, path, checkToken(token, path)
}

// checkToken refuses what can't stand in a header, without repeating it.
func checkToken(token, source string) error {
	if len(token) > 4096 || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w: %s holds no token: there are spaces or unprintable characters in it", ErrUnauthorized, source)
	}
	return nil
}

// StoreToken writes the token to TokenPath, readable by its owner only, and returns the path.
func StoreToken(token string) (path string, err error) {
	path = TokenPath()
	if err := checkToken(token, "the given text"); err != nil || token == "" {
		return "", errors.Join(err, os.ErrInvalid)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".token-*") // created with mode 0600
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(token)
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return path, err
}

// RemoveToken deletes the file at TokenPath and reports whether there was one.
func RemoveToken() (removed bool, err error) {
	err = os.Remove(TokenPath())
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// truthy reads a variable as the official clients do.
func truthy(name string) bool {
	return slices.Contains([]string{"1", "ON", "YES", "TRUE"}, strings.ToUpper(os.Getenv(name)))
}
