package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

// documentsLimit is a little less than the server takes in one request.
const documentsLimit = 8<<20 - 64<<10

// readDocuments reads files, the YAML and JSON files of directories, and
// standard input for "-".
func (e *Env) readDocuments(names []string) ([]*adminv1.Document, error) {
	var docs []*adminv1.Document
	size := 0
	for _, name := range names {
		files, err := expand(name)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			content, err := e.readFile(file)
			if err != nil {
				return nil, unreadable(file, err)
			}
			if !utf8.Valid(content) {
				return nil, fmt.Errorf("%s is not UTF-8 text", file)
			}
			if size += len(content); size > documentsLimit {
				return nil, fmt.Errorf("the files are larger than %d MiB together; apply them in parts", documentsLimit>>20+1)
			}
			docs = append(docs, &adminv1.Document{Source: file, Content: string(content)})
		}
	}
	return docs, nil
}

func (e *Env) readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(e.In, documentsLimit+1))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, documentsLimit+1))
}

func expand(name string) ([]string, error) {
	if name == "-" {
		return []string{name}, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, unreadable(name, err)
	}
	if !info.IsDir() {
		return []string{name}, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, unreadable(name, err)
	}
	var files []string
	for _, entry := range entries {
		if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(entry.Name())) && !entry.IsDir() {
			files = append(files, filepath.Join(name, entry.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("the directory %s holds no .yaml, .yml or .json file", name)
	}
	return files, nil
}

// unreadable names a file and the cause, once each.
func unreadable(name string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("cannot read %s: %w", name, err)
}
