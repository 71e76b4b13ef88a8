package wire

import "net"

// recordSize is how much is sent in one TLS record, in bytes. Who receives keeps a buffer for
// as long as the connection that holds the largest record it got, which is up to 33 kB, and a
// controller has a thousand of them. A record of this size fits into one packet.
const recordSize = 1400

// smallRecords is a TLS connection that sends small records.
type smallRecords struct{ net.Conn }

// Write sends p in records of recordSize.
func (c smallRecords) Write(p []byte) (int, error) {
	sent := 0
	for {
		n, err := c.Conn.Write(p[sent:min(len(p), sent+recordSize)])
		if sent += n; err != nil || sent >= len(p) {
			return sent, err
		}
	}
}
