package zoo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"d2nwg/internal/files"
)

// readJSON reads one JSON value.
func readJSON(path string, to any) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxJSON+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxJSON {
		return badf("%s has more than %d bytes", path, maxJSON)
	}
	if err := json.Unmarshal(data, to); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return badf("%s line %d: %v", path, 1+bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n")), err)
		}
		return badf("%s: %v", path, err)
	}
	return nil
}

// writeJSON writes one JSON value, whole or not at all.
func writeJSON(path string, value any) error {
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(value); err != nil {
		return err
	}
	return files.Write(path, data.Bytes())
}
