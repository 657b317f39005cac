package shop

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	shopv1 "github.com/leno-mesh/leno/demo/shop/v1"
)

// web is the page that a shopper opens: it asks three services.
type web struct {
	client   *http.Client
	checkout shopv1.CheckoutClient
	err      error // of making the checkout client
}

func newWeb(c Config) http.Handler {
	w := &web{client: &http.Client{Timeout: 5 * time.Second}}
	conn, err := grpc.NewClient("passthrough:///"+c.Checkout, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if w.err = err; err == nil {
		w.checkout = shopv1.NewCheckoutClient(conn)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", w.home)
	return mux
}

func (w *web) home(rw http.ResponseWriter, r *http.Request) {
	if w.err != nil {
		http.Error(rw, w.err.Error(), http.StatusInternalServerError)
		return
	}
	items, err := w.fetch(r.Context(), "http://catalogue/items")
	if err != nil {
		http.Error(rw, "catalogue: "+err.Error(), http.StatusBadGateway)
		return
	}
	cart, err := w.fetch(r.Context(), "http://cart/cart/alice")
	if err != nil {
		http.Error(rw, "cart: "+err.Error(), http.StatusBadGateway)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	receipt, err := w.checkout.Place(ctx, &shopv1.Order{Item: "gauze", Quantity: 1})
	if err != nil {
		http.Error(rw, "checkout: "+err.Error(), http.StatusBadGateway)
		return
	}
	_ = json.NewEncoder(rw).Encode(map[string]any{"catalogue": items, "cart": cart, "receipt": receipt.GetText()})
}

func (w *web) fetch(ctx context.Context, url string) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s: %.200s", url, res.Status, body)
	}
	return body, nil
}

// catalogue tells which version of it answered.
func catalogue(version string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(map[string]any{"version": version, "items": []string{"gauze", "tulle", "marquisette"}})
	})
	return mux
}

// cart remembers how many things each customer has put into theirs.
type cart struct {
	mu    sync.Mutex
	count map[string]int
}

func newCart() http.Handler {
	c := &cart{count: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cart/{customer}", func(rw http.ResponseWriter, r *http.Request) { c.answer(rw, r, 0) })
	mux.HandleFunc("POST /cart/{customer}", func(rw http.ResponseWriter, r *http.Request) { c.answer(rw, r, 1) })
	return mux
}

func (c *cart) answer(rw http.ResponseWriter, r *http.Request, add int) {
	customer := r.PathValue("customer")
	c.mu.Lock()
	if _, known := c.count[customer]; !known && len(c.count) >= 1000 {
		clear(c.count)
	}
	c.count[customer] += add
	n := c.count[customer]
	c.mu.Unlock()
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(map[string]any{"customer": customer, "things": n})
}

// visit opens the page at a steady rate. A page that fails is the mesh's to
// count; the shopper goes on.
func visit(ctx context.Context, c Config) error {
	if c.Rate <= 0 || c.Rate > 1000 {
		return fmt.Errorf("the shopper's rate is %d a second; it must be 1 to 1000", c.Rate)
	}
	client := &http.Client{Timeout: 10 * time.Second}
	tick := time.NewTicker(time.Second / time.Duration(c.Rate))
	defer tick.Stop()
	var visits sync.WaitGroup
	defer visits.Wait()
	limit := make(chan struct{}, 100) // visits under way at once
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		select {
		case limit <- struct{}{}:
		default:
			continue
		}
		visits.Go(func() {
			defer func() { <-limit }()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Web, nil)
			if err != nil {
				return
			}
			if res, err := client.Do(req); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
}
