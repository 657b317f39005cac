package engine

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// versions are the four combinations of client and endpoint.
var versions = []struct{ down, up int }{{1, 1}, {1, 2}, {2, 1}, {2, 2}}

// each runs a test for every combination against one backend.
func each(t *testing.T, h http.HandlerFunc, routes string, test func(t *testing.T, c *http.Client, base string)) {
	for _, v := range versions {
		t.Run(fmt.Sprintf("h%d to h%d", v.down, v.up), func(t *testing.T) {
			fields := ""
			if v.up == 2 {
				fields = speaksH2
			}
			r := newRig(t, web(routes)+clusters(cluster("app", fields, backend(t, h))))
			test(t, client(t, v.down), "http://"+r.serve("web"))
		})
	}
}

// mirror answers with the request.
func mirror(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("x-method", r.Method)
	w.Header().Set("x-path", r.URL.RequestURI())
	w.Header().Set("x-host", r.Host)
	w.Header().Set("x-length", fmt.Sprint(r.ContentLength))
	for k, v := range r.Header {
		w.Header()["X-Had-"+k] = v
	}
	for k, v := range r.Trailer {
		w.Header()["X-Trailer-"+k] = v
	}
	_, _ = w.Write(body)
}

func TestRequestsAreForwarded(t *testing.T) {
	each(t, mirror, to("app"), func(t *testing.T, c *http.Client, base string) {
		a := do(t, c, "GET", base+"/a/b?c=d", nil, header("x-own", "1"), header("x-own", "2"))
		if a.StatusCode != 200 || a.Header.Get("x-path") != "/a/b?c=d" || strings.Join(a.Header["X-Had-X-Own"], ",") != "1,2" {
			t.Errorf("GET: %s %v", a.Status, a.Header)
		}
		if a := do(t, c, "HEAD", base+"/a", nil); a.StatusCode != 200 || a.body != "" || a.Header.Get("x-method") != "HEAD" {
			t.Errorf("HEAD: %s %v", a.Status, a.Header)
		}
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			if a := do(t, c, method, base+"/", strings.NewReader("body")); a.body != "body" || a.Header.Get("x-method") != method || a.Header.Get("x-length") != "4" {
				t.Errorf("%s: %s %q %v", method, a.Status, a.body, a.Header)
			}
		}
	})
}

func TestBodiesOfAllSizesPassUnchanged(t *testing.T) {
	each(t, mirror, to("app"), func(t *testing.T, c *http.Client, base string) {
		for _, size := range []int{1, 100, 16 << 10, 16<<10 + 1, 1 << 20, 5 << 20} {
			body := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
			if a := do(t, c, "POST", base+"/", bytes.NewReader(body)); a.body != string(body) {
				t.Errorf("%d bytes with a length: %s, %d bytes back", size, a.Status, len(a.body))
			}
			if a := do(t, c, "POST", base+"/", io.MultiReader(bytes.NewReader(body))); a.body != string(body) || a.Header.Get("x-length") != "-1" {
				t.Errorf("%d bytes without: %s, %d bytes back, length %s", size, a.Status, len(a.body), a.Header.Get("x-length"))
			}
		}
	})
}

func TestTrailersPassBothWays(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("trailer", "x-back")
		_, _ = w.Write(b)
		_ = http.NewResponseController(w).Flush() // with a length HTTP/1.1 has no room for trailers
		w.Header().Set("x-back", r.Trailer.Get("x-there"))
	}
	each(t, h, to("app"), func(t *testing.T, c *http.Client, base string) {
		a := do(t, c, "POST", base+"/", io.MultiReader(strings.NewReader("x")), func(r *http.Request) {
			r.Trailer = http.Header{"X-There": {"value"}}
		})
		if a.body != "x" || a.Trailer.Get("x-back") != "value" {
			t.Errorf("%s %q, trailers %v", a.Status, a.body, a.Trailer)
		}
	})
}

func TestAnswersWithoutBodyStayWithout(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.Header().Set("etag", `"1"`)
			w.WriteHeader(304)
		case "/head":
			w.Header().Set("content-length", "1000")
		case "/empty":
		}
	}
	each(t, h, to("app"), func(t *testing.T, c *http.Client, base string) {
		for path, status := range map[string]int{"/204": 204, "/304": 304, "/empty": 200} {
			if a := do(t, c, "GET", base+path, nil); a.StatusCode != status || a.body != "" {
				t.Errorf("%s: %s %q", path, a.Status, a.body)
			}
		}
		if a := do(t, c, "HEAD", base+"/head", nil); a.StatusCode != 200 || a.Header.Get("content-length") != "1000" {
			t.Errorf("HEAD: %s %v", a.Status, a.Header)
		}
		if a := do(t, c, "GET", base+"/204", nil); a.StatusCode != 204 {
			t.Errorf("after HEAD: %s", a.Status)
		}
	})
}

func TestAnswersBeginBeforeTheRequestEnds(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		_ = http.NewResponseController(w).Flush()
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(w, "got "+line)
			_ = http.NewResponseController(w).Flush()
		}
	}
	each(t, h, to("app"), func(t *testing.T, c *http.Client, base string) {
		pr, pw := io.Pipe()
		req, _ := http.NewRequest("POST", base+"/", pr)
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		lines := bufio.NewReader(res.Body)
		for i := range 20 {
			_, _ = fmt.Fprintf(pw, "%d\n", i)
			if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("got %d\n", i) {
				t.Fatalf("%q %v", line, err)
			}
		}
		pw.Close()
		if _, err := lines.ReadString('\n'); err != io.EOF {
			t.Errorf("%v at the end", err)
		}
	})
}

func TestAnEarlyAnswerIsPassedOnWholeWithTheBodyUnread(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/after" {
			return
		}
		w.WriteHeader(413)
		_, _ = io.WriteString(w, "too large")
	}
	each(t, h, to("app"), func(t *testing.T, c *http.Client, base string) {
		for range 10 {
			a, err := try(c, "POST", base+"/", io.LimitReader(endless{}, 8<<20))
			if err != nil {
				// An HTTP/1.1 client that is still writing may see its
				// connection end before it sees the answer.
				if strings.Contains(t.Name(), "/h2_to") {
					t.Errorf("the answer is lost: %v", err)
				}
				continue
			}
			if a.StatusCode != 413 || a.body != "too large" {
				t.Errorf("%s %q", a.Status, a.body)
			}
		}
		if a := do(t, c, "GET", base+"/after", nil); a.StatusCode != 200 {
			t.Errorf("after: %s", a.Status)
		}
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestInterimAnswersPass(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("link", "</style.css>")
		w.WriteHeader(103)
		w.WriteHeader(200)
	}
	each(t, h, to("app"), func(t *testing.T, c *http.Client, base string) {
		var codes []int
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			codes = append(codes, code)
			if h.Get("link") != "</style.css>" {
				t.Errorf("interim head %v", h)
			}
			return nil
		}}
		a := do(t, c, "GET", base+"/", nil, func(r *http.Request) {
			*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
		})
		if a.StatusCode != 200 || len(codes) != 1 || codes[0] != 103 {
			t.Errorf("%s after %v", a.Status, codes)
		}
	})
}

func TestExpectedBodiesAreAskedFor(t *testing.T) {
	each(t, mirror, to("app"), func(t *testing.T, c *http.Client, base string) {
		c.Transport.(*http.Transport).ExpectContinueTimeout = 10 * time.Second
		begun := time.Now()
		a := do(t, c, "POST", base+"/", strings.NewReader("body"), header("expect", "100-continue"))
		if a.body != "body" || time.Since(begun) > 5*time.Second {
			t.Errorf("%s %q after %s", a.Status, a.body, time.Since(begun))
		}
	})
}

func TestAnHTTP10ClientGetsNoInterimAnswerAndNoChunks(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(103)
		_, _ = io.WriteString(w, "body")
		_ = http.NewResponseController(w).Flush()
	}
	r := newRig(t, webWith("http_protocol_options: {accept_http_10: true}", to("app"))+clusters(cluster("app", "", backend(t, h))))
	c := dial(t, r.serve("web"))
	_, _ = io.WriteString(c, "GET / HTTP/1.0\r\nhost: a\r\n\r\n")
	b, err := io.ReadAll(c)
	if err != nil || strings.Contains(string(b), "103") || !strings.HasSuffix(string(b), "\r\n\r\nbody") {
		t.Errorf("%q %v", b, err)
	}
}

func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func TestAClientThatGivesUpCancelsTheRequestAtTheEndpoint(t *testing.T) {
	for _, v := range versions {
		if v.down == 1 {
			continue // an HTTP/1.1 client says nothing while it waits; its route's timeout bounds the request
		}
		t.Run(fmt.Sprintf("h%d to h%d", v.down, v.up), func(t *testing.T) {
			arrived, cancelled := make(chan struct{}), make(chan struct{})
			h := func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				<-r.Context().Done()
				close(cancelled)
			}
			fields := ""
			if v.up == 2 {
				fields = speaksH2
			}
			r := newRig(t, web(to("app"))+clusters(cluster("app", fields, backend(t, h))))
			base := "http://" + r.serve("web")
			ctx, cancel := context.WithCancel(context.Background())
			go func() { <-arrived; cancel() }()
			_, err := try(client(t, v.down), "GET", base+"/", nil, func(r *http.Request) { *r = *r.WithContext(ctx) })
			if err == nil {
				t.Error("the request was answered")
			}
			select {
			case <-cancelled:
			case <-time.After(5 * time.Second):
				t.Error("the endpoint works on")
			}
		})
	}
}

func TestAClientThatGivesUpInItsBodyCancelsTheRequestAtTheEndpoint(t *testing.T) {
	arrived, failed := make(chan struct{}, 1), make(chan error, 1)
	h := func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		_, err := io.Copy(io.Discard, r.Body)
		failed <- err
	}
	each(t, h, to("app"), func(t *testing.T, c *http.Client, base string) {
		ctx, cancel := context.WithCancel(context.Background())
		pr, pw := io.Pipe()
		go func() {
			_, _ = pw.Write(make([]byte, 100<<10))
			<-arrived
			cancel()
			pw.CloseWithError(context.Canceled)
		}()
		_, err := try(c, "POST", base+"/", pr, func(r *http.Request) { *r = *r.WithContext(ctx) })
		if err == nil {
			t.Error("the request was answered")
		}
		select {
		case err := <-failed:
			if err == nil {
				t.Error("the endpoint took the cut for an end")
			}
		case <-time.After(5 * time.Second):
			t.Error("the endpoint waits on")
		}
	})
}
