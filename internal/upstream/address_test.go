package upstream

import (
	"net/netip"
	"testing"
)

func TestPrivateAddresses(t *testing.T) {
	refused := []string{
		"0.0.0.0", "0.0.0.1", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.1.2.3", "127.255.255.255",
		"169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1",
		"192.168.0.1", "192.168.255.255", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250",
		"240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
		"::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1",
		"2001:10::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "3fff::1", "5f00::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fdff:ffff::1",
		"fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "feff::1", "ff00::1", "ff02::1", "ff0e::1", "::ffff:192.168.1.1", "::ffff:100.64.0.1", "::2",
	}
	for _, a := range refused {
		if err := checkAddress(netip.MustParseAddr(a), nil); err == nil {
			t.Errorf("%s may be dialled", a)
		}
	}
	for _, a := range []string{"1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1", "198.20.0.1", "2606:4700::1111", "2a00:1450::1"} {
		if err := checkAddress(netip.MustParseAddr(a), nil); err != nil {
			t.Errorf("%s is refused: %v", a, err)
		}
	}
	allow := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	if err := checkAddress(netip.MustParseAddr("::ffff:10.1.2.3"), allow); err != nil {
		t.Errorf("an allowed range is refused: %v", err)
	}
	if err := checkAddress(netip.MustParseAddr("10.2.0.1"), allow); err == nil {
		t.Error("a range beside the allowed one may be dialled")
	}
}
