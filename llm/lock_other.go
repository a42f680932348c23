//go:build !unix

package llm

import "os"

// flock does nothing where there is no such lock.
func flock(*os.File) error { return nil }
