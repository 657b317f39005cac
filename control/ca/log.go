package ca

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// entry is one line of the log. It holds no secret.
type entry struct {
	Time     time.Time `json:"time"`
	Serial   string    `json:"serial"`
	ID       string    `json:"id"`
	NotAfter time.Time `json:"notAfter"`
	Attested string    `json:"attested"`
}

// issueLog is a file that only grows, one JSON object a line.
type issueLog struct{ file *os.File }

func openLog(path string) (*issueLog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if err := endLine(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("open log %s: %w", path, err)
	}
	return &issueLog{f}, nil
}

// endLine ends a line that a crash cut off.
func endLine(f *os.File) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], size-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		_, err = f.Write([]byte{'\n'})
	}
	return err
}

// append returns when the line is on the disk.
func (l *issueLog) append(e entry) error {
	if l.file == nil {
		return errors.New("the certificate authority is closed")
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("log certificate: %w", err)
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("log certificate: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("log certificate: %w", err)
	}
	return nil
}

func (l *issueLog) close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
