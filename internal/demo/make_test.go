//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// makeTarget runs a target of the checkout with a go command that is this shell script, and returns what it printed.
func makeTarget(t *testing.T, target, goCommand string) string {
	t.Helper()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip(err)
	}
	makefile := filepath.Join("..", "..", "GNUmakefile")
	if _, err := os.Stat(makefile); err != nil { // also for go test, which would otherwise cache the result
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\n"+goCommand+"\n"), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "make", "-C", filepath.Dir(makefile), target)
	command.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "MAKEFLAGS=")
	output, err := command.CombinedOutput()
	if err == nil {
		t.Errorf("make %s succeeded with a go command that fails:\n%s", target, output)
	}
	return string(output)
}

// Without a C compiler, "go env CGO_ENABLED" is 0, and go test -race asks to enable cgo, which does not help.
func TestMakeTestWithoutACompiler(t *testing.T) {
	t.Parallel()
	for name, environment := range map[string]string{
		"none found": `CGO_ENABLED=0; CC=gcc`,
		"not there":  `CGO_ENABLED=1; CC="no-such-compiler -m64"`,
	} {
		output := makeTarget(t, "test", environment+`; [ "$1" = env ] && eval "echo \$$2" && exit; echo "go: -race requires cgo"; exit 2`)
		if !strings.Contains(output, "install gcc") || strings.Contains(output, "requires cgo") {
			t.Errorf("%s: make test does not say what to install:\n%s", name, output)
		}
	}
}

// The first go run compiles for minutes without a word.
func TestMakeSaysThatItCompiles(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"demo", "sandbox"} {
		output := makeTarget(t, target, `echo "go $*"; exit 3`)
		if said, ran := strings.Index(output, "Compiling"), strings.LastIndex(output, "go run"); said < 0 || said > ran {
			t.Errorf("make %s does not say first that it compiles:\n%s", target, output)
		}
		root, err := filepath.Abs(filepath.Join("..", ".."))
		if target == "sandbox" && (err != nil || !strings.Contains(output, `"ylem-co/ylem" = "`+root+`"`)) {
			t.Errorf("make sandbox does not say how to use the provider of the checkout:\n%s", output)
		}
	}
}
