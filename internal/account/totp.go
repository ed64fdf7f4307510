package account

import (
	"crypto/subtle"
	"encoding/base32"
	"net/url"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
)

// One-time codes are those of RFC 6238 as every authenticator has them: six digits of SHA-1, each for 30 seconds.
const (
	totpStep      = 30 // seconds
	totpSecretLen = 20 // bytes
	totpSkew      = 1  // steps before and after that a clock may be off
)

// stepAt is the step that a time is in.
func stepAt(t time.Time) int64 { return t.Unix() / totpStep }

// matchCode finds the step of which a code is; ok is false where it is of none near now. It looks at all of them.
func matchCode(secret []byte, code string, now time.Time) (step int64, ok bool) {
	text := base32.StdEncoding.EncodeToString(secret)
	at := stepAt(now)
	for s := at - totpSkew; s <= at+totpSkew; s++ {
		want, err := hotp.GenerateCodeCustom(text, uint64(max(s, 0)), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

// otpauth is what an authenticator reads from a picture.
func otpauth(secret []byte, email string) (text, link string) {
	text = base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
	q := url.Values{"secret": {text}, "issuer": {"Sluice"}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {"30"}}
	u := url.URL{Scheme: "otpauth", Host: "totp", Path: "/Sluice:" + email, RawQuery: q.Encode()}
	return text, u.String()
}
