package serve

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestAStreamSaysWhetherItsCertificateOrItsDeadlineEndedIt(t *testing.T) {
	for _, test := range []struct {
		name              string
		deadline, expires time.Duration
		code              codes.Code
		says              string
	}{
		{"the certificate", 0, time.Second, codes.Unauthenticated, "certificate has expired"},
		{"the certificate before the deadline", time.Minute, time.Second, codes.Unauthenticated, "certificate has expired"},
		{"the deadline", time.Second, time.Minute, codes.DeadlineExceeded, "deadline"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stream, cancel := t.Context(), context.CancelFunc(func() {})
				if test.deadline > 0 {
					stream, cancel = context.WithTimeout(stream, test.deadline)
				}
				defer cancel()
				ctx, cancel := context.WithDeadlineCause(stream, time.Now().Add(test.expires), errExpired)
				defer cancel()
				<-ctx.Done()
				if err := over(ctx); status.Code(err) != test.code || !strings.Contains(err.Error(), test.says) {
					t.Errorf("error is %v", err)
				}
			})
		})
	}
}
