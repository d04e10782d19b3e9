//go:build unix

package provider

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
)

// stop stands before a sandbox and holds back the first request or the first answer that it is about.
type stop struct {
	url      string
	held     chan struct{} // has an element once it is held back
	release  chan struct{}
	abort    chan struct{} // closed: the connection is closed
	answered chan struct{} // closed once it was let through and answered
}

func newStop(t *testing.T, s *sandbox, about func(*http.Request) bool, answer bool) *stop {
	t.Helper()
	st := &stop{held: make(chan struct{}, 1), release: make(chan struct{}), abort: make(chan struct{}), answered: make(chan struct{})}
	first := make(chan struct{}, 1)
	first <- struct{}{}
	hold := func() {
		st.held <- struct{}{}
		select {
		case <-st.release:
		case <-st.abort:
			panic(http.ErrAbortHandler)
		}
	}
	proxy := proxyTo(t, s)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if about(r) {
			select {
			case <-first:
				defer close(st.answered)
				if !answer {
					hold()
					break
				}
				held := *proxy
				held.ModifyResponse = func(*http.Response) error {
					hold()
					return nil
				}
				held.ServeHTTP(w, r)
				return
			default:
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	st.url = server.URL
	return st
}

// Wherever the provider or all of Terraform is killed: with a key there is one run after the next apply. Without one there
// are two where the first had been started, as the guide says.
func TestAccKilledStarts(t *testing.T) {
	t.Parallel()
	isRun := func(r *http.Request) bool { return r.Method == http.MethodPost && !asksForToken(r) }
	isRead := func(r *http.Request) bool { return r.Method == http.MethodGet }
	for name, point := range map[string]struct {
		about   func(*http.Request) bool
		answer  bool // hold back the answer, not the request
		deliver bool // let the provider have it, but not Terraform
		started int
	}{
		"before the key is looked for":       {about: isRead},
		"before the run request has arrived": {about: isRun},
		"before its answer":                  {about: isRun, answer: true, started: 1},
		"between the answer and the state":   {about: isRun, answer: true, deliver: true, started: 1},
	} {
		for with, key := range map[string]string{"with a key": keyed, "without a key": ""} {
			for _, victim := range []string{"the provider", "all"} {
				if victim == "the provider" && point.deliver {
					continue // Terraform may have its answer already
				}
				if key == "" && name == "before the key is looked for" {
					continue
				}
				t.Run(name+", "+victim+", "+with, func(t *testing.T) {
					t.Parallel()
					s := newSandbox(t)
					p := s.triggered()
					st := newStop(t, s, point.about, point.answer)
					tf := newTerraform(t, strings.Replace(s.run(p, key), s.URL, st.url, 1))
					b := tf.start(t, "apply", "-auto-approve")
					b.eventually(t, "the request is held back", func() bool { return len(st.held) == 1 })
					if point.deliver {
						if err := b.Signal(syscall.SIGSTOP); err != nil {
							t.Fatal(err)
						}
						close(st.release)
						<-st.answered
					}
					b.signalProvider(t, os.Kill)
					close(st.abort)
					if victim == "all" {
						b.Kill()
						_ = os.Remove(tf.dir + "/.terraform.tfstate.lock.info")
					}
					if code, output := b.wait(t); code == 0 {
						t.Fatalf("the apply succeeded:\n%s", output)
					}
					if n := len(s.Runs(p)); n != point.started {
						t.Fatalf("%d runs at the time of the kill, want %d", n, point.started)
					}

					tf.mustRun(t, 0, "apply", "-auto-approve")
					want := 1
					if key == "" {
						want += point.started
					}
					if n := len(s.Runs(p)); n != want {
						t.Errorf("%d runs, want %d", n, want)
					}
					tf.mustRun(t, 0, "plan", "-detailed-exitcode")
				})
			}
		}
	}
}
