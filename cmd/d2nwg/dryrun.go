package main

func dryRun(s *session) error { return usagef("--dry-run is for later") }
