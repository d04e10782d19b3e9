package terraformcli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The tests' binary is also the program that is run, in place of terraform and of a provider: what it does is its first
// argument.
func TestMain(m *testing.M) {
	if os.Getenv("TERRAFORMCLI_PROGRAM") == "" {
		os.Exit(m.Run())
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	switch os.Args[1] {
	case "say":
		dir, _ := os.Getwd()
		fmt.Println("in", dir)
		fmt.Fprintln(os.Stderr, "with", os.Getenv("TF_LOG"), os.Getenv("GREETING"))
		os.Exit(3)
	case "version":
		fmt.Println("Terraform v1.11.4\non linux_amd64")
	case "tidy": // with a process of its own, which does not end by itself
		child := exec.Command(os.Args[0], "stay", os.Args[2])
		if err := child.Start(); err != nil {
			panic(err)
		}
		<-interrupted
		fmt.Println("tidied up")
	case "stay": // the connection lasts until the process ends
		conn, err := net.Dial("tcp", os.Args[2])
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, "here\n")
		select {}
	case "-debug":
		switch os.Getenv("GREETING") {
		case "attach":
			fmt.Println("Provider started. To attach Terraform, set")
			fmt.Println("\n\tTF_REATTACH_PROVIDERS='{\"ylem\":1}'")
			<-interrupted
		default:
			fmt.Fprintln(os.Stderr, "the port is taken")
			os.Exit(1)
		}
	}
	os.Exit(0)
}

// program is the command line of the tests' own binary.
func program(t *testing.T, env ...string) *CLI {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TF_ACC_TERRAFORM_PATH", path)
	c, err := New(t.TempDir(), DevOverrides("/where/it/is"), append(env, "TERRAFORMCLI_PROGRAM=1")...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRun(t *testing.T) {
	t.Setenv("TF_LOG", "TRACE") // the user's own
	c := program(t, "GREETING=hello")
	r, err := c.Run(t.Context(), "say")
	dir, _ := filepath.EvalSymlinks(c.Dir)
	if err != nil || r.ExitCode != 3 || strings.TrimSpace(r.Stdout) != "in "+dir || strings.TrimSpace(r.Stderr) != "with  hello" {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = c.Output(t.Context(), "say")
	failed, ok := errors.AsType[*ExitError](err)
	if !ok || failed.ExitCode != 3 || !strings.Contains(err.Error(), "in "+dir) || !strings.Contains(err.Error(), "with  hello") {
		t.Errorf("the error of a failed command does not show what it printed: %v", err)
	}
	config, err := os.ReadFile(filepath.Join(c.Dir, "cli.tfrc"))
	if err != nil || !strings.Contains(string(config), `"ylem-co/ylem" = "/where/it/is"`) || !slices.Contains(c.Env, "TF_CLI_CONFIG_FILE="+filepath.Join(c.Dir, "cli.tfrc")) {
		t.Errorf("%s, %v", config, err)
	}
}

func TestTerraformIsMissing(t *testing.T) {
	t.Setenv("TF_ACC_TERRAFORM_PATH", "")
	t.Setenv("PATH", t.TempDir())
	if _, err := New(t.TempDir(), ""); err == nil || !strings.Contains(err.Error(), "Install Terraform") {
		t.Error(err)
	}
}

func TestVersion(t *testing.T) {
	if v, err := program(t).Version(t.Context()); err != nil || v != (Version{"Terraform", 1, 11, "1.11.4"}) || v.String() != "Terraform 1.11.4" {
		t.Errorf("%+v, %v", v, err)
	}
	for text, want := range map[string]Version{
		"OpenTofu v1.12.6\non linux_amd64\n":   {"OpenTofu", 1, 12, "1.12.6"},
		"Terraform v1.17.0-dev\non darwin\n":   {"Terraform", 1, 17, "1.17.0-dev"},
		"Terraform v1.16.0-rc2 (experimental)": {"Terraform", 1, 16, "1.16.0-rc2"},
	} {
		if v, err := parseVersion(text); err != nil || v != want {
			t.Errorf("%q: %+v, %v", text, v, err)
		}
	}
	if _, err := parseVersion("command not found"); err == nil {
		t.Error("no error")
	}
}

// startTidy starts a process that has a child. gone returns when the child is.
func startTidy(ctx context.Context, t *testing.T) (p *Process, gone func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	if p, err = program(t).Start(ctx, "tidy", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	conn, err := listener.Accept()
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, len("here\n")))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return p, func() {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("a process is left over")
		}
	}
}

func TestProcessEndsWithItsContext(t *testing.T) {
	skipOnWindows(t)
	ctx, cancel := context.WithCancel(t.Context())
	p, gone := startTidy(ctx, t)
	select {
	case <-p.Done():
		t.Fatal("it has ended by itself")
	default:
	}
	cancel()
	r, err := p.Wait()
	if !errors.Is(err, context.Canceled) || !strings.Contains(r.Stdout, "tidied up") {
		t.Errorf("it is not interrupted first: %+v, %v", r, err)
	}
	gone()
	<-p.Done()
}

func TestSignals(t *testing.T) {
	skipOnWindows(t)
	t.Run("process", func(t *testing.T) {
		p, gone := startTidy(t.Context(), t)
		if err := p.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if r, err := p.Wait(); err != nil || r.ExitCode != 0 || !strings.Contains(r.Stdout, "tidied up") {
			t.Errorf("%+v, %v", r, err)
		}
		p.Kill() // what is left: the child has ignored the interrupt that it did not get
		gone()
	})
	t.Run("group", func(t *testing.T) {
		p, gone := startTidy(t.Context(), t)
		if err := p.SignalGroup(os.Kill); err != nil {
			t.Fatal(err)
		}
		if r, err := p.Wait(); err != nil || r.ExitCode != -1 {
			t.Errorf("%+v, %v", r, err)
		}
		gone()
	})
}

func skipOnWindows(t *testing.T) {
	t.Helper()
	if filepath.Separator == '\\' {
		t.Skip("Windows has no signals and no process groups")
	}
}

func TestStartProvider(t *testing.T) {
	path := program(t).Path
	p, attach, err := StartProvider(t.Context(), path, "TERRAFORMCLI_PROGRAM=1", "GREETING=attach")
	if err != nil || attach != `TF_REATTACH_PROVIDERS={"ylem":1}` {
		t.Fatalf("%q, %v", attach, err)
	}
	p.Kill()
	if stdout, _ := p.Output(); !strings.Contains(stdout, "To attach") {
		t.Errorf("output %q", stdout)
	}
	if _, _, err := StartProvider(t.Context(), path, "TERRAFORMCLI_PROGRAM=1"); err == nil || !strings.Contains(err.Error(), "the port is taken") {
		t.Errorf("a provider that ends at once: %v", err)
	}
}

func TestBuildFails(t *testing.T) {
	if _, err := Build(t.Context(), t.TempDir(), Module+"/internal/nothing"); err == nil || !strings.Contains(err.Error(), "internal/nothing") {
		t.Errorf("the error does not show what the compiler said: %v", err)
	}
}

func TestModuleRoot(t *testing.T) {
	root, err := ModuleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Error(err)
	}
}
