package upstream

import (
	"fmt"
	"net/netip"
	"syscall"

	"sluice/internal/llm"
)

// private are the address ranges that no upstream on the public internet has: this machine, its
// networks, cloud metadata, and the tunnels and translations that lead back to them. Sources: the IANA
// special-purpose registries for IPv4 and IPv6 (RFC 6890 and its successors), RFC 3879 for fec0::/10.
var private = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23",
	"2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)

func prefixes(cidrs ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(cidrs))
	for i, c := range cidrs {
		out[i] = netip.MustParsePrefix(c)
	}
	return out
}

// checkAddress refuses private addresses that are not allowed. It looks at the address that is dialled,
// after every resolution: a name proves nothing, it may resolve to something else a moment later.
func checkAddress(ip netip.Addr, allow []netip.Prefix) error {
	ip = ip.Unmap().WithZone("")
	for _, p := range allow {
		if p.Contains(ip) {
			return nil
		}
	}
	for _, p := range private {
		if p.Contains(ip) {
			return &llm.Error{
				Kind: llm.KindUpstream, Msg: "the upstream's address is not allowed",
				Err: fmt.Errorf("%s is in the private range %s: add a range that holds it to allow_private of the provider if this is meant", ip, p),
			}
		}
	}
	return nil
}

// Guard checks each address before it is connected to; it has the form of net.Dialer.Control. It serves everything that goes where a
// configuration says, not only calls of models.
func Guard(allow []netip.Prefix) func(network, address string, c syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("dial %s: %w", address, err)
		}
		return checkAddress(at.Addr(), allow)
	}
}
