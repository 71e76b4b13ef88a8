package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Check passes a snapshot on and finds out whether it is whole: its last 32 bytes are the
// checksum of all before them.
type Check struct {
	to   io.Writer
	sum  hash.Hash
	tail []byte // at most 32 bytes, which are not in sum yet
	size int64
}

// NewCheck passes what is written to it on to a writer.
func NewCheck(to io.Writer) *Check { return &Check{to: to, sum: sha256.New()} }

// Write implements io.Writer.
func (c *Check) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.size += int64(n)
	c.tail = append(c.tail, p[:n]...)
	if over := len(c.tail) - sha256.Size; over > 0 {
		c.sum.Write(c.tail[:over])
		c.tail = append(c.tail[:0], c.tail[over:]...)
	}
	return n, err
}

// Size is how many bytes were passed on.
func (c *Check) Size() int64 { return c.size }

// Whole says after the last byte whether they are a snapshot.
func (c *Check) Whole() error {
	const page = 512 // data bases are a multiple of it
	if c.size%page != sha256.Size {
		return fmt.Errorf("%d bytes: it is cut, or no snapshot of etcd", c.size)
	}
	if !bytes.Equal(c.sum.Sum(nil), c.tail) {
		return errors.New("its checksum is wrong: it is damaged")
	}
	return nil
}
