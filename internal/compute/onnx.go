//go:build cgo

package compute

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	gomlx "github.com/gomlx/compute"
	onnxbackend "github.com/gomlx/compute-onnx"
)

// onnxDriver is ONNX Runtime on the CPU, loaded at run time from a shared library.
func onnxDriver() driver {
	return driver{name: ONNX, find: findONNX, open: openONNX, auto: func() bool { return true }}
}

func openONNX(library string) (gomlx.Backend, error) {
	onnxbackend.EnableAutoInstall(false)
	library, err := filepath.Abs(library)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(library); err != nil {
		return nil, fmt.Errorf("ONNX Runtime library: %w", err)
	}
	return onnxbackend.New("cpu," + library)
}

func findONNX() (string, Status) {
	st := Status{Name: ONNX}
	if !onnxbackend.IsSupportedPlatform() {
		st.Why = "ONNX Runtime does not exist for " + runtime.GOOS + "/" + runtime.GOARCH
		st.Faster = "use the go backend"
		return "", st
	}
	if path := os.Getenv(EnvLibrary); path != "" {
		if _, err := os.Stat(path); err != nil {
			st.Why, st.Faster = EnvLibrary+" names "+path+", which can't be read", "set "+EnvLibrary+" to the path of libonnxruntime.so"
			return "", st
		}
		st.Usable, st.Why = true, "ONNX Runtime at "+path+" ("+EnvLibrary+")"
		return path, st
	}
	for _, dir := range libraryDirs() {
		for _, name := range libraryNames() {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); err == nil && !info.IsDir() {
				st.Usable, st.Why = true, "ONNX Runtime at "+path
				return path, st
			}
		}
	}
	st.Why = "no ONNX Runtime library found"
	st.Faster = "put " + libraryNames()[0] + " into .deps/onnxruntime (the npm package onnxruntime-node carries it) or set " + EnvLibrary
	return "", st
}

func libraryNames() []string {
	switch runtime.GOOS {
	case "darwin":
		return []string{"libonnxruntime.dylib"}
	case "windows":
		return []string{"onnxruntime.dll"}
	default:
		return []string{"libonnxruntime.so", "libonnxruntime.so.1"}
	}
}

// libraryDirs lists where the library may lie: .deps/onnxruntime in the working directory, beside the executable and in every parent of
// both, then the system's library directories.
func libraryDirs() []string {
	var dirs []string
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for {
			dirs = append(dirs, filepath.Join(dir, ".deps", "onnxruntime"))
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	dirs = append(dirs, filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))...)
	return append(dirs, "/usr/local/lib", "/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/opt/homebrew/lib")
}
