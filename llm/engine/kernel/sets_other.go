//go:build !amd64

package kernel

func assembled() []*Set { return nil }
