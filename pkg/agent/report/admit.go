package report

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// admit refuses what a web page in somebody's browser could send: a page can make its own
// host name resolve to this address (DNS rebinding), but then the name is in Host and
// Origin. Requests on the Unix socket come from no page.
func (h *handler) admit(r *http.Request) *problem {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if _, unix := local.(*net.UnixAddr); unix {
		return nil
	}
	if !h.ownHost(r.Host, local) {
		return &problem{
			status: http.StatusForbidden, Reason: reasonForbidden, Field: "Host",
			Text: "the request names another host; address the agent as localhost, by its IP address or by the name of its node",
		}
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || !h.ownHost(u.Host, local) {
			return &problem{status: http.StatusForbidden, Reason: reasonForbidden, Field: "Origin", Text: "requests of web pages are not answered"}
		}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return &problem{status: http.StatusForbidden, Reason: reasonForbidden, Field: "Sec-Fetch-Site", Text: "requests of web pages are not answered"}
	}
	return nil
}

// ownHost tells whether a host, with or without a port, means this machine and can't be
// somebody else's DNS name.
func (h *handler) ownHost(host string, local net.Addr) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "localhost" {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr = addr.Unmap(); addr.IsLoopback() {
			return true
		}
		tcp, ok := local.(*net.TCPAddr)
		return ok && tcp.AddrPort().Addr().Unmap() == addr
	}
	if host == "" {
		return false
	}
	name, err := os.Hostname()
	return host == strings.ToLower(h.report.node) || err == nil && host == strings.ToLower(name)
}
