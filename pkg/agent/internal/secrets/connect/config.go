package connect

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// Config of a Provider.
type Config struct {
	// URL of the server without the /v1, as https://connect.example.org:8443. Required.
	URL string
	// AllowHTTP accepts http to other hosts than this one. Default false: whoever is on the
	// way could read tokens and values.
	AllowHTTP bool
	// CAFile adds certificates that the server may show; read once.
	CAFile string
	// Token says where the access token is. Required.
	Token TokenConfig
	// Node is told to the server as part of the User-Agent, which its audit log keeps.
	Node string
	// Timeout of one request. A server that has just started takes 10 s for its first
	// answer. 0 means 25 s.
	Timeout time.Duration
	// Retry is the pause before a request is tried again; it doubles each time. 0 means 500 ms.
	Retry time.Duration
	// Recheck is how old items may be that the content version says did not change. 0
	// means 15 minutes.
	Recheck time.Duration
}

// Validate joins all problems; each begins with the name of its key in agent.yaml.
func (c *Config) Validate() error {
	_, err := c.base()
	return errors.Join(err, c.Token.validate())
}

func (c *Config) base() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("url: must be the address of a Connect server, as https://connect.example.org:8443")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("url: must have no user, query or fragment")
	case u.Scheme == "http" && !c.AllowHTTP && !loopback(u.Hostname()):
		return nil, fmt.Errorf("url: http to %s shows token and values to the network: use https, or set allowHTTP: true", u.Hostname())
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/v1")
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}
