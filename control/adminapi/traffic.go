package adminapi

import (
	"context"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

// minInterval bounds how often a client may have a table.
const minInterval = 100 * time.Millisecond

// Traffic sends tables until the client goes.
func (s *Server) Traffic(ctx context.Context, r *adminv1.TrafficRequest, stream *connect.ServerStream[adminv1.TrafficResponse]) error {
	interval := time.Duration(r.GetIntervalMilliseconds()) * time.Millisecond
	if interval == 0 {
		interval = time.Second
	}
	if interval < minInterval || interval > time.Hour {
		return invalid("the interval must be from %s to 1h", minInterval)
	}
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		if err := stream.Send(s.traffic(r.GetNamespace())); err != nil || r.GetOnce() {
			return err
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Server) traffic(namespace string) *adminv1.TrafficResponse {
	window, rows := s.cfg.Traffic.Table()
	rows = slices.DeleteFunc(rows, func(row *adminv1.TrafficRow) bool {
		return namespace != "" && !isIn(row.GetSource(), namespace) && !isIn(row.GetDestination(), namespace)
	})
	return &adminv1.TrafficResponse{At: time.Now().UnixMilli(), WindowMilliseconds: window.Milliseconds(), Rows: rows}
}

func isIn(name, namespace string) bool {
	first, _, _ := strings.Cut(name, "/")
	return first == namespace
}
