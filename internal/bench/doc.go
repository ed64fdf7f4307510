// Package bench measures gateways: it sends a load that is checked answer by answer, in a closed loop or at a fixed rate, and
// compares Sluice with a bare reverse proxy, with no gateway at all, and with any other program, alternating between
// them in rounds so that a noisy machine is noisy for all. It knows programs by their sockets and process ids only,
// and nothing of the gateway's inside. It talks to the loopback interface and to nothing else.
package bench
