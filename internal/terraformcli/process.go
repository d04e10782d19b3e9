package terraformcli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	endLimit   = 10 * time.Second // for a process that was interrupted to end
	startLimit = 30 * time.Second // for a provider to say how terraform attaches to it
)

// Process is a terraform command or a provider that was started. On Unix it has a process group of its own, so that
// Ctrl-C in a shell does not reach it a second time: terraform would give up without tidying up.
type Process struct {
	cmd            *exec.Cmd
	stdout, stderr buffer
	done           chan struct{}
	err            error // known when done
}

// Result is what a process left when it ended.
type Result struct {
	Stdout, Stderr string
	ExitCode       int // -1 if a signal ended it
	CPU            time.Duration
}

func start(ctx context.Context, dir string, env []string, name string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.CommandContext(ctx, name, args...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, env
	p.stdout.grew = make(chan struct{}, 1)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = endLimit
	p.cmd.Cancel = func() error { return interruptGroup(p.cmd.Process) }
	setGroup(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		err := p.cmd.Wait()
		if ctx.Err() != nil {
			_ = signalGroup(p.cmd.Process, os.Kill) // what is left of it
			err = ctx.Err()
		} else if _, ok := errors.AsType[*exec.ExitError](err); ok {
			err = nil
		}
		p.err = err
	}()
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits until the process has ended. An exit code is not an error; that the context ended is one.
func (p *Process) Wait() (Result, error) {
	<-p.done
	state := p.cmd.ProcessState
	return Result{
		Stdout: p.stdout.String(), Stderr: p.stderr.String(),
		ExitCode: state.ExitCode(), CPU: state.UserTime() + state.SystemTime(),
	}, p.err
}

// Output is what the process has printed so far.
func (p *Process) Output() (stdout, stderr string) { return p.stdout.String(), p.stderr.String() }

// Signal sends a signal to the process alone. On Windows only os.Kill can be sent.
func (p *Process) Signal(signal os.Signal) error { return p.cmd.Process.Signal(signal) }

// SignalGroup sends a signal to the process and to all that it has started, as CI systems do.
func (p *Process) SignalGroup(signal os.Signal) error { return signalGroup(p.cmd.Process, signal) }

// SignalProvider sends a signal to the provider that this terraform has started. It works on Linux only.
func (p *Process) SignalProvider(signal os.Signal) error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("find the provider's process: %w", errors.ErrUnsupported)
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, process := range processes {
		stat, _ := os.ReadFile(filepath.Join(process, "stat"))
		_, after, _ := bytes.Cut(stat, []byte(") ")) // of "PID (NAME) STATE PARENT …"
		fields := strings.Fields(string(after))
		exe, _ := os.Readlink(filepath.Join(process, "exe"))
		if len(fields) < 2 || fields[1] != strconv.Itoa(p.cmd.Process.Pid) || !strings.HasPrefix(filepath.Base(exe), "terraform-provider-") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil {
			return err
		}
		provider, err := os.FindProcess(pid)
		if err != nil {
			return err
		}
		return provider.Signal(signal)
	}
	return errors.New("terraform is running no provider")
}

// Kill ends the process, on Unix with all that it has started, and waits until it is gone.
func (p *Process) Kill() {
	_ = signalGroup(p.cmd.Process, os.Kill) // it fails where nothing is left, as it should be
	<-p.done
}

// PeakMemory is the most memory that the process has had, in bytes. It works on Linux only, and while the process runs:
// the usage that a process leaves when it ends is at least its parent's.
func (p *Process) PeakMemory() (int64, error) {
	if runtime.GOOS != "linux" {
		return 0, fmt.Errorf("measure memory: %w", errors.ErrUnsupported)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var kilobytes int64
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	_, err = fmt.Sscan(peak, &kilobytes)
	return kilobytes << 10, err
}

// StartProvider starts a provider's binary as under a debugger, with -debug. attach is the variable, as NAME=VALUE, that
// makes a terraform use this process, which has the environment env and not terraform's.
func StartProvider(ctx context.Context, binary string, env ...string) (p *Process, attach string, err error) {
	if p, err = start(ctx, "", append(baseEnvironment(), env...), binary, "-debug"); err != nil {
		return nil, "", err
	}
	late := time.After(startLimit)
	for {
		for line := range strings.Lines(p.stdout.String()) {
			if _, value, ok := strings.Cut(line, "TF_REATTACH_PROVIDERS="); ok && strings.HasSuffix(line, "\n") {
				return p, "TF_REATTACH_PROVIDERS=" + strings.Trim(strings.TrimSpace(value), "'"), nil
			}
		}
		select {
		case <-p.stdout.grew:
			continue
		case <-p.done:
			err = errors.New("the provider ended before terraform could attach to it")
		case <-late:
			err = fmt.Errorf("the provider has not said within %s how terraform attaches to it", startLimit)
		}
		p.Kill()
		return nil, "", fmt.Errorf("%w:\n%s%s", err, p.stdout.String(), p.stderr.String())
	}
}

// buffer collects what a process prints.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
	grew chan struct{} // gets a value after a change, if anything is to know of it
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.text.Write(p)
	select {
	case b.grew <- struct{}{}:
	default:
	}
	return n, err
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
