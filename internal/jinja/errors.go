package jinja

import (
	"errors"
	"fmt"

	"d2nwg/safetensors"
)

// RaisedError is what a template says with raise_exception, such as that roles must alternate.
type RaisedError struct {
	Message string // the template's own words
}

func (e *RaisedError) Error() string { return e.Message }

// ErrLimit is wrapped by the error of a template that runs too long, nests too deeply or builds too much.
var ErrLimit = errors.New("the template goes beyond what a template may do")

// evalError is a failure of a template, named as Python names it.
type evalError struct {
	kind, message string
	line          int // of the template; 0 = not known yet
	cause         error
}

func (e *evalError) Error() string {
	if e.line == 0 {
		return e.kind + ": " + e.message
	}
	return fmt.Sprintf("line %d: %s: %s", e.line, e.kind, e.message)
}

func (e *evalError) Unwrap() error { return e.cause }

func typeError(format string, args ...any) error {
	return &evalError{kind: "TypeError", message: fmt.Sprintf(format, args...)}
}

func valueError(format string, args ...any) error {
	return &evalError{kind: "ValueError", message: fmt.Sprintf(format, args...)}
}

func runtimeError(format string, args ...any) error {
	return &evalError{kind: "TemplateRuntimeError", message: fmt.Sprintf(format, args...)}
}

func limitError(what string) error {
	return &evalError{kind: "limit", message: what, cause: ErrLimit}
}

// at notes the line where err happened, unless an inner tag has.
func at(line int, err error) error {
	var e *evalError
	if errors.As(err, &e) && e.line == 0 {
		e.line = line
	}
	return err
}

// plain strips what the template engine wraps around an error of ours.
func plain(err error) error {
	var raised *RaisedError
	if errors.As(err, &raised) {
		return raised
	}
	var e *evalError
	if errors.As(err, &e) {
		if e.cause != nil {
			return fmt.Errorf("%w: line %d: %s", e.cause, e.line, e.message)
		}
		return fmt.Errorf("%w: %w", safetensors.ErrFormat, e)
	}
	return fmt.Errorf("%w: %w", safetensors.ErrFormat, err)
}
