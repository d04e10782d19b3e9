package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// serve serves the sandbox until the context ends, or while the command runs.
func serve(ctx context.Context, s settings, stdout, stderr io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.addr)
	if err != nil {
		return listenError(s.addr, err)
	}
	clock := fastClock(s.speed)
	opts := []ylemtest.Option{ylemtest.WithListener(listener), ylemtest.WithDialect(s.dialect), ylemtest.WithClock(clock)}
	if s.oneTaskRunner {
		opts = append(opts, ylemtest.WithTaskRunner())
	}
	var server *ylemtest.Server
	log := &requestLog{w: stderr, settings: s}
	ready := make(chan struct{})
	opts = append(opts, ylemtest.WithObserver(func(r ylemtest.Request) {
		<-ready
		server.ResetRequests() // or they would pile up
		if !s.quiet || r.Reason != "" {
			log.write(r)
		}
	}))
	server = ylemtest.NewServer(opts...)
	defer server.Close()
	s.client = server.AddClient(s.client)
	s.scenario.AddTo(server, clock())
	close(ready)

	environment := [][2]string{
		{"YLEM_API_URL", reachable(server.URL)},
		{"YLEM_API_CLIENT_ID", s.client.ID},
		{"YLEM_API_CLIENT_SECRET", s.client.Secret},
	}
	if len(s.command) > 0 {
		return runCommand(ctx, s.command, environment)
	}
	if err := introduce(stdout, s, environment); err != nil {
		return err
	}
	<-ctx.Done()
	_, err = fmt.Fprintln(stdout, "\nStopped.")
	return err
}

// fastClock is the real time at first, and runs faster.
func fastClock(speed float64) func() time.Time {
	if speed == 1 {
		return time.Now
	}
	start := time.Now()
	return func() time.Time { return start.Add(time.Duration(float64(time.Since(start)) * speed)) }
}

// listenError says what to do about an address that cannot be listened on.
func listenError(addr string, err error) error {
	const windows = syscall.Errno(10048) // WSAEADDRINUSE, which syscall.EADDRINUSE does not match
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, windows) {
		return fmt.Errorf("the address %s is taken, perhaps by another ylem-sandbox or by a self-hosted Ylem. "+
			"Stop that, or choose another address, such as -addr 127.0.0.1:7340", addr)
	}
	return fmt.Errorf("%w. Choose another address, such as -addr 127.0.0.1:7340", err)
}

// reachable is a URL for this machine, also where the server listens on all of its addresses.
func reachable(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsUnspecified() {
		u.Host = net.JoinHostPort("127.0.0.1", u.Port())
	}
	return u.String()
}

// runCommand runs a command with the variables in its environment. Its error holds its exit code.
func runCommand(ctx context.Context, command []string, environment [][2]string) error {
	// The context ends with Ctrl-C; the command is to end in its own way, and its exit code counts.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = os.Environ()
	for _, variable := range environment {
		cmd.Env = append(cmd.Env, variable[0]+"="+variable[1])
	}
	// Not SIGINT: Ctrl-C reaches the command too, and terraform would count it as the second.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case received := <-signals:
				_ = cmd.Process.Signal(received)
			case <-done:
				return
			}
		}
	}()
	return cmd.Wait()
}

// introduce prints how to use the sandbox.
func introduce(w io.Writer, s settings, environment [][2]string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "A Ylem in memory listens until Ctrl-C. In another shell, set these variables:\n\n")
	for _, v := range environment {
		fmt.Fprintf(&b, "export %s=%s\n", v[0], quote(v[1]))
	}
	fmt.Fprintf(&b, "\nOr in PowerShell:\n\n")
	for _, v := range environment {
		fmt.Fprintf(&b, "$env:%s = '%s'\n", v[0], strings.ReplaceAll(v[1], "'", "''"))
	}
	fmt.Fprintf(&b, "\nIts pipelines and their tasks:\n\n")
	for _, p := range s.scenario.Pipelines {
		fmt.Fprintf(&b, "%s  %s\n", p.UUID, p.Name)
		for i, t := range p.Tasks {
			fmt.Fprintf(&b, "  %s  %s", t.UUID, p.TaskName(i))
			if name := p.TaskName(i); name != t.Type {
				fmt.Fprintf(&b, " (%s)", t.Type)
			}
			b.WriteString("\n")
		}
	}
	if len(s.scenario.Pipelines) == 0 {
		b.WriteString("none\n")
	}
	if s.speed != 1 {
		fmt.Fprintf(&b, "\nTime passes %g times as fast.\n", s.speed)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// quote makes a text one word of a shell.
func quote(text string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/:@%+,"
	if text != "" && strings.Trim(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// requestLog writes a line for each request.
type requestLog struct {
	settings settings
	mu       sync.Mutex
	w        io.Writer
}

func (l *requestLog) write(r ylemtest.Request) {
	layout := time.TimeOnly
	if l.settings.speed != 1 {
		layout = time.DateTime
	}
	status := fmt.Sprint(r.Status)
	if r.Status == 0 {
		status = "---" // not answered
	}
	line := fmt.Sprintf("%s  %s  %-4s %s", r.At.Format(layout), status, r.Method, r.Path)
	if about := l.about(r); about != "" {
		line += "  " + about
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.w, line+"\n")
}

// about is what there is to say about a request besides its line: the name of its pipeline or task, what it started, why
// it was refused.
func (l *requestLog) about(r ylemtest.Request) string {
	var parts []string
	if name := l.name(r.Path); name != "" {
		parts = append(parts, name)
	}
	if r.Run != "" {
		parts = append(parts, "started run "+r.Run)
	}
	switch {
	case r.Reason != "" && r.Status/100 == 2:
		parts = append(parts, "note: "+r.Reason)
	case r.Reason != "":
		parts = append(parts, "refused: "+r.Reason)
	case r.Status == 0:
		parts = append(parts, "not answered")
	}
	return strings.Join(parts, "; ")
}

// name is that of the pipeline that a path is about, or of the task and its pipeline.
func (l *requestLog) name(path string) string {
	path = strings.ToLower(path)
	for _, p := range l.settings.scenario.Pipelines {
		if strings.Contains(path, p.UUID) {
			return p.Name
		}
		for i, t := range p.Tasks {
			if strings.Contains(path, "/tasks/"+t.UUID) {
				return strings.TrimPrefix(p.Name+", ", ", ") + p.TaskName(i)
			}
		}
	}
	return ""
}
