package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/leno-mesh/leno/demo/shop"
)

// firstVisit is what the shopper of the demo says once a page has come.
const firstVisit = "first page"

func shopCommand(env *Env) *cobra.Command {
	var c shop.Config
	var wait bool
	cmd := &cobra.Command{
		Use:     "shop SERVICE",
		Short:   "Run one service of the shop that demo meshes",
		Example: "  leno shop cart --listen 127.0.0.1:8080",
		Hidden:  true,
		Args:    exactly(1, "the service's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Service = args[0]
			if wait {
				if err := env.awaitShop(cmd.Context(), c.Web); err != nil {
					return err
				}
			}
			return shop.Run(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Listen, "listen", "", "HOST:PORT")
	f.StringVar(&c.Version, "as", "", "version that catalogue calls itself")
	f.StringVar(&c.Checkout, "checkout", "", "HOST:PORT of checkout")
	f.StringVar(&c.Payment, "payment", "", "HOST:PORT of payment")
	f.StringVar(&c.Stock, "stock", "", "HOST:PORT of stock")
	f.StringVar(&c.Web, "web", "", "URL that the shopper visits")
	f.IntVar(&c.Rate, "rate", 20, "visits a second")
	f.BoolVar(&wait, "wait", false, "begin when a line comes on standard input, and say when the first page has come")
	return cmd
}

// awaitShop waits for the word to begin, and opens the first page.
func (e *Env) awaitShop(ctx context.Context, page string) error {
	begin := make(chan error, 1)
	go func() {
		_, err := bufio.NewReader(e.In).ReadString('\n')
		begin <- err
	}()
	select {
	case err := <-begin:
		if err != nil {
			return fmt.Errorf("wait for the word to begin: %w", err)
		}
	case <-ctx.Done():
		return nil
	}
	client := &http.Client{Timeout: 10 * time.Second}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("open the first page: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the first page is %s: %.200s", answer.Status, body)
	}
	fmt.Fprintln(e.Out, firstVisit)
	return nil
}
