package pii

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each line is an entity (or "-" for none of any kind) and a text in which what is to be found stands in «». The numbers
// are made up, or printed as examples by those who issue them; every one that has a check digit has a right one.
const fixtures = `
EMAIL_ADDRESS | Write to «jane.doe+news@mail.example.co.uk», please.
EMAIL_ADDRESS | <«o'brien@example.org»>; mailto:«a_b-c@example.io»
EMAIL_ADDRESS | grüße an «jürgen.groß@müller-straße.de»!
EMAIL_ADDRESS | 请发邮件到«abc@example.com»谢谢
EMAIL_ADDRESS | disguised: «jane%40example.com», «jane&#64;example.com», «jane&commat;example&period;com», «jane\u0040example.com»
EMAIL_ADDRESS | disguised: «ｊａｎｅ＠ｅｘａｍｐｌｅ．ｃｏｍ» «jane﹫example.com» «j{zw}ane@exam{shy}ple.com» «jаnе@example.com»
EMAIL_ADDRESS | encoded: «amFuZS5kb2VAZXhhbXBsZS5jb20gaXMgbWU=» and {"a":"«bXkgYWRkcmVzcyBpcyBqYW5lQGV4YW1wbGUuY29t»"}
- | look-alikes: user@host, npm install left-pad@1.3.0, @app.route, logo@2x.png, git@github.com:a/b.git, a @ b.com
PHONE_NUMBER | call «+44 7700 900123» or «+1 (212) 555-0123» or «0049 30 901820»
PHONE_NUMBER | «(212) 555-0123», «212-555-0123 ext. 42», Tel. «212.555.0123»
PHONE_NUMBER | Téléphone : «01 84 17 61 18» ; Telefon: «030/901820-11»; phone «07700900123»
PHONE_NUMBER | 我的手机是«13800138000»，电话：«010-62781234»
PHONE_NUMBER | disguised, phone: «＋４４ ７７００ ９００１２３», mobile «+44–7700–900123», fax «+44 7700 900123»
- | order 2125550123, ISBN 978-3-16-148410-0, 2024-03-12 10:45:00, 12.03.2024, 1,234,567.89, 1.234.567
- | PrivateKey: testP256PrivateKey, m=+123.456789000, hex 00112233445566, 05.000 2006, 1e+10000000, a+12345678, 13800138000, timestamp 1700000000, epoch 1700000000123, build 20240312, $1234567890, #8005550199, part no 4471-2209-113
CREDIT_CARD | «4111 1111 1111 1111», «5555-5555-5555-4444», «378282246310005», «6011111111111117», «3530111333300000»
CREDIT_CARD | my visa is «4222222222222», Maestro card «6304000000000000»; «4111111111111111»/12-27
CREDIT_CARD | disguised: «４１１１　１１１１　１１１１　１１１１» «4111{nbhy}1111{nbhy}1111{nbhy}1111» «4111 1111 1111 1111» «4{zw}1{zw}1{zw}1{zw}1111{zw}11111111»
- | 4111 1111 1111 1112, 1234567890123456, 0000 0000 0000 0000, 9999999999999995, 4111111111111111a
IBAN_CODE | «DE89 3704 0044 0532 0130 00», «GB82WEST12345698765432», «fr1420041010050500013m02606», «NL91-ABNA-0417-1643-00»
- | DE88 3704 0044 0532 0130 00, GB82WEST1234569876543, XX82WEST12345698765432, DE89
IP_ADDRESS | from «203.0.113.7», host «10.0.0.1», «192.168.1.0»/24, server «1.1.1.1», «2001:db8::ff00:42:8329», ip «fe80::1»
- | version 10.15.7.1, v1.2.3.4, std::vector, a::b, 12:34:56, 256.1.1.1, 1.2.3, 10.0.0.1.5, section 1.2.3.4, ::1
CRYPTO | «1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa» «3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy» «bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq»
CRYPTO | «0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed», «0xde709f2102306220921060314715629080e2fb77»
- | 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD
DATE_OF_BIRTH | born on «March 12, 1985»; DOB: «12/03/1985»; geboren am «5. 3. 1985»; née le «12 août 1985»; birthday «1985-03-12»
- | shipped on March 12, 1985; due 12/03/2024; the sprint of 2024-03-12; born in May
URL_CREDENTIALS | «postgres://app:s3cr3t@db.internal:5432/main?sslmode=require» «https://u:p4ss@example.com/x», «redis://:hunter2@cache:6379/0»
URL_CREDENTIALS | «root:s3cr3t@tcp(10.1.2.3:3306)»/db
- | https://example.com/a?b=c, postgres://localhost/db, https://user:$PASSWORD@example.com/, https://example.com:8080/@me
SECRET | «sk-ant-{key}» «AKIAIOSFODNN7EXAMPLE» «ghp_0123456789abcdefghijABCDEFGHIJ012345»
SECRET | «glpat-Ab3dEf6hIj9kLm2nOp5q» «AIzaSyA0123456789abcdefghijABCDEFGHIJ01» «xoxb-123456789012-abcdefGHIJKL0123»
SECRET | «eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcDEF123456-_x» Authorization: Bearer «0a1b2c3d4e5f6a7b8c9d0e1f»
SECRET | password = "«hunter2!»", the password is «Tr0ub4dor», DB_PASSWORD=«c0rrect-horse», "client_secret": "«q8Zr2LmX0pT5vB7nK3wY»"
SECRET | «-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn\nygWyF8PbnGy0AHB7\n-----END RSA PRIVATE KEY-----», then
- | password: string, password = getPassword(), token: 4096, max_tokens=1024, api_key=$API_KEY, password: your_password1, the password is required
- | sk-this-is-a-name-of-a-thing, 3f786850e387550fdab836ed7e6dc881de23001b, 123e4567-e89b-12d3-a456-426614174000, d41d8cd98f00b204e9800998ecf8427e
- | -----BEGIN PUBLIC KEY-----, -----BEGIN CERTIFICATE----- MIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG -----END CERTIFICATE-----, -----------
- | data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4 internal/guard/pii/scanner/reading/it
US_SSN | «078-05-1120», ssn «078 05 1120», social security number «078051120»
- | 000-12-3456, 666-12-3456, 078-00-1120, 078-05-0000, 123456789
US_ITIN | «912-70-1234»
UK_NINO | «AB123456C», insurance number «AB 12 34 56 C»
- | BG123456C, AB123456E, part AB123456C, build-AB123456C
UK_NHS | NHS number «943 476 5919»
CA_SIN | SIN «130 692 544»
AU_TFN | my TFN is «123 456 782»
AU_MEDICARE | medicare «2123 45670 1»
IN_AADHAAR | «2341 2341 2346»
- | 2341 2341 2345
IN_PAN | PAN «ABCPE1234F»
SG_NRIC_FIN | «S1234567D»
DE_TAX_ID | Steuer-ID «86095742719», or «86 095 742 719»
FR_NIR | «2 69 05 49 588 157 80», «269054958815780»
ES_NIF | «12345678Z»
ES_NIE | «X1234567L»
IT_FISCAL_CODE | «RSSMRA85T10A562S»
- | 12345678A, X1234567A, S1234567E, RSSMRA85T10A562T
NL_BSN | BSN «111222333»
BE_NATIONAL_NUMBER | «85.07.30-033.28»
PL_PESEL | PESEL «44051401359»
PT_NIF | NIF «123456789»
CH_AHV | «756.9217.0769.85»
SE_PERSONNUMMER | «811218-9876»
FI_PERSONAL_IDENTITY_CODE | «131052-308T»
NO_FODSELSNUMMER | fødselsnummer «15076500565»
BR_CPF | «529.982.247-25», CPF «52998224725»
MX_CURP | «BOXW310820HNERXN09»
CN_RESIDENT_ID | «11010519491231002X»
KR_RRN | «900101-1234568»
TR_TCKN | TC kimlik no «10000000146»
ZA_ID_NUMBER | «8001015009087»
`

func TestFixtures(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	tested := map[Entity]bool{}
	for line := range strings.Lines(fixtures) {
		entity, marked, ok := strings.Cut(strings.TrimSpace(line), " | ")
		if !ok {
			continue
		}
		tested[Entity(entity)] = true
		marked = strings.NewReplacer(`\n`, "\n", "{key}", "k3Y0a1b2c3d4e5f6a7b8c9-A",
			"{zw}", "\u200b", "{shy}", "\u00ad", "{nbsp}", "\u00a0", "{nbhy}", "\u2011").Replace(marked)
		text := strings.NewReplacer("«", "", "»", "").Replace(marked)
		var want, got []string
		for part := range strings.SplitSeq(marked, "«") {
			if what, _, ok := strings.Cut(part, "»"); ok {
				want = append(want, entity+" "+what)
			}
		}
		for _, f := range s.Scan(text, nil) {
			got = append(got, string(f.Entity)+" "+text[f.Start:f.End])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", marked, diff)
		}
	}
	for _, e := range Default() {
		if !tested[e] {
			t.Errorf("no fixture for %s", e)
		}
	}
}
