// Package kernel has the inner loops of the scoring engine, in Go assembly where the CPU has vector units that it knows
// and in Go everywhere else. The assembly comes from internal/gen.
//
// Weights are used where they lie, in a mapped file: row-major, of 4 or 2 bytes, at any address. Nothing is read beyond
// their last byte.
//
// Every number is summed in one order, which depends on the number of summands alone: never on how many rows or outputs
// a call has, nor on threads. So results of one Set are the same bits however the work is cut.
package kernel

//go:generate go run ./internal/gen .
