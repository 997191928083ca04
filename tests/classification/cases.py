"""What each detector by value must find and must leave alone: reader → (rule prefix, finds, leaves)."""

from __future__ import annotations

# The checks' own published examples are marked by nothing else than being here; each stands in several texts.
CONTEXTS = ("{}", "id {}", "({})", "see {}, please", '"{}"', "a={};", "first {} then", "line\n{}\nline")


def in_contexts(*values: str) -> list[str]:
    """Every value once, and the first in all contexts."""
    return [*values, *(context.format(values[0]) for context in CONTEXTS[1:])]


LONG = "Xy9" * 14
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
MRZ_NAMES = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<"
MRZ = f"{MRZ_NAMES}\nL898902C36UTO7408122F1204159ZE184226B<<<<<10"

CASES: dict[str, tuple[str, list[str], list[str]]] = {
    "email": (
        "email.value",
        [*in_contexts("alice@example.com", "bob.smith+tag@corp.example.org", "x_1@sub.example.co.uk"), "mailto:alice@example.com", "Alice <alice@example.com>", "jürgen@müller.de", "user@corp.local"],
        ["logo@2x.png", "user@1000.service", "https://user:pw@host.example.com/", "ssh://git@host.example.com/r",
         "@example.com", "alice@", "alice@localhost", "lodash@4.17.21", "a@b@c", "WORKSTATION5$@THESHIRE.LOCAL",
         "alice at example.com", "@decorator.call"],
    ),
    "ipv4": (
        "ipv4.",
        [*in_contexts("203.0.114.7", "8.8.8.8", "10.1.2.3", "192.168.1.20", "172.18.39.5"), "http://203.0.114.7/x", "203.0.114.7:443", "10.1.2.0/24"],
        ["10.0.17763.1", "Version: 10.0.177.1", "Chrome/120.0.0.0", "1.3.6.1.4.1.311", "v1.2.3.4", "256.1.1.1",
         "1.2.3", "127.0.0.1", "0.0.0.0", "239.1.1.1", "guestagent_2.7.41.99", "01.02.03.04", "1.2.3.4-beta",
         "build 9.8.7.6", "FileVersion=4.8.3.2"],
    ),
    "ipv6": (
        "ipv6.",
        [*in_contexts("2a00:1450:4001:81b::200e", "fe80::7976:d2f2:1752:21b5", "2606:4700:4700::1111"), "::ffff:172.18.39.6", "[2a00:1450:4001:81b::200e]:443", "fd12:3456:789a:1::1", "2a00:1450:4001:081b:0000:0000:0000:200e"],
        ["::1", "::", "12:34:56", "2020-09-14T10:00:00", "std::vector", "AWS::S3::Object", "aa:bb:cc:dd:ee:ff",
         "ff02::1", "1:2:3:4:5:6:7:8:9:a", "arn:aws:ec2::123456789123:x", "fe80:::1", "0:0:0:0:0:0:0:1", "abc::xyz"],
    ),
    "mac": (
        "mac.value",
        in_contexts("00:1b:44:11:3a:b7", "00-1B-44-11-3A-B7", "a4:5e:60:f1:02:9c"),
        ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "00:1b:44:11:3a", "00:1b:44:11:3a:b7:00", "00:1b-44:11-3a:b7",
         "0g:1b:44:11:3a:b7", "10:11:12", "16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
         "83d0c8c3-43cb-5f5f-1000-000000000400", "2020-11-21-10-00-00"],
    ),
    "payment_card": (
        "card.",
        in_contexts("4111 1111 1111 1111", "5500-0000-0000-0004", "3782 822463 10005", "6011111111111117",
                    "3530111333300000", "4012888888881881", "5105105105105100", "2223003122003222"),
        ["4111 1111 1111 1112", "1234 5678 9012 3456", "41111111111111111111", "x4111111111111111",
         "4111111111111111-1", "1600041600000", "0.4111111111111111", "4111 1111 1111 111", "10378265587506741248",
         "4111-1111 1111-1111", "9999999999999995"],
    ),
    "iban": (
        "iban.value",
        [*in_contexts("GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "FR1420041010050500013M02606", "NL91ABNA0417164300", "ES9121000418450200051332", "BE68539007547034", "IL620108000000099999999", "NO9386011117947", "IT60X0542811101000000123456"), "IBAN GB82WEST12345698765432 THANK YOU"],
        ["GB82 WEST 1234 5698 7654 33", "GB82WEST1234569876543", "XX82WEST12345698765432", "gb82west12345698765432",
         "SHA1CEEA1CA1D843C0CE456E347AFB", "DE8937040044053201300", "ZZDE89370400440532013000", "AE12", "DE00123456789012345678"],
    ),
    "us_ssn": (
        "national_id.us",
        in_contexts("536-22-1234", "219-09-9999", "001-01-0001"),
        ["000-12-3456", "666-12-3456", "900-12-3456", "536-00-1234", "536-22-0000", "536-22-12345", "1536-22-1234",
         "536-22-1234-5", "536221234", "53-622-1234", "S-1-5-21-536-22-1234"],
    ),
    "brazil_cpf": (
        "national_id.br.value",
        in_contexts("529.982.247-25", "111.444.777-35", "123.456.789-09"),
        ["529.982.247-26", "111.111.111-11", "529.982.247", "529.982.247-255", "1529.982.247-25", "529-982-247.25",
         "000.000.000-00", "529.982.24-725", "029.982.247-25"],
    ),
    "belgium_nn": (
        "national_id.be.value",
        in_contexts("85.07.30-033.28", "93.05.18-223.61"),
        ["85.07.30-033.29", "85.13.30-033.28", "85.07.40-033.28", "85.07.30-033", "185.07.30-033.28", "85.07.30.033.28",
         "85-07-30-033-28", "85.07.30-033.281", "93.05.18-223.62"],
    ),
    "sweden_pnr": (
        "national_id.se.value",
        in_contexts("811228-9874", "19811228-9874", "670919-9530", "121212-1212"),
        ["811228-9875", "811328-9874", "811240-9874", "20200914-0805", "200914-080546", "811228-98745", "A811228-9874",
         "x-811228-9874", "1811228-9874"],
    ),
    "spain_dni": (
        "national_id.es.value",
        in_contexts("12345678Z", "X1234567L", "00000000T", "Z1234567R", "12345678-Z"),
        ["12345678A", "X1234567M", "20200914T", "20200914Z", "1234567Z", "123456789Z", "12345678Zx", "A12345678Z",
         "W1234567L", "12345678z"],
    ),
    "italy_cf": (
        "national_id.it.value",
        in_contexts("RSSMRA85T10A562S", "RSSMRA80A01H501U", "MRTMTT91D08F205J"),
        ["RSSMRA85T10A562T", "RSSMRA85Z10A562S", "RSSMRA85T10A562", "XRSSMRA85T10A562S", "RSSMRA85T10A562S1",
         "rssmra85t10a562s", "RSSMR185T10A562S", "1SSMRA85T10A562S", "RSSMRA85T10A56S2"],
    ),
    "france_nir": (
        "national_id.fr.value",
        in_contexts("2 55 08 14 168 025 38", "255081416802538", "185057800608491"),
        ["2 55 08 14 168 025 39", "955081416802538", "255131416802538", "2550814168025", "2255081416802538",
         "255081416802538-1", "x255081416802538", "255 081 416 802 538 1", "0.255081416802538"],
    ),
    "india_aadhaar": (
        "national_id.in.value",
        in_contexts("2341 2341 2346", "9999 4105 7058"),
        ["2341 2341 2347", "1341 2341 2346", "2341 2341 234", "2341 2341 2346 0000", "999941057058", "2341-2341-2346",
         "x2341 2341 2346", "2341 2341 23467", "12 2341 2341"],
    ),
    "bare_number": (
        "national_id.",
        ["123456782", "111222333", "9434765919", "8112289874", "44051401359", "86095742719", "52998224725", "85073003328"],
        ["123456789", "1600041600", "1605952800000", "id 123456782", "12345678", "000000000", "52998224724", "0x123456782",
         "123456782 "],
    ),
    "phone_international": (
        "phone.international",
        in_contexts("+14155552671", "+1 (415) 555-2671", "+44 20 7946 0958", "+33 1 70 18 99 00", "+972-3-123-4567"),
        ["2020-11-21T10:00:00+02:00", "ntdll.dll+9c534", "+1", "a+14155552671", "C++20200914", "+0123456789",
         "+1234567890123456789", "UTC+0200", "x=1+14155552671"],
    ),
    "phone_national": (
        "phone.national",
        in_contexts("(415) 555-2671", "415-555-2671", "(212)555-0199", "212.555.0199"),
        ["115-555-2671", "(415) 155-2671", "415-555-267", "415-555-26711", "1.415-555-2671", "415-555-2671-9",
         "4155552671", "S-1-5-415-555-2671", "(415) 555"],
    ),
    "phone_worded": (
        "phone.worded",
        ["phone: 4155552671", "Tel. 020 7946 0958", "Mobile 06 12 34 56 78", "fax=0301234567", "call me: 415 555 2671",
         "telephone (020) 7946 0958", "Cell: 415.555.2671", "phone number 4155552671"],
        ["phone: 12", "telemetry 4155552671", "cellar 12345678", "phone v10.0.1", "call 12:34:56", "hotel 12345678",
         "phone unknown 4155552671x", "callback 1600041600"],
    ),
    "worded_national_id": (
        "national_id.",
        ["SSN: 536221234", "BSN 111222333", "PESEL: 44051401359", "NHS number 943 476 5919", "cpf=52998224725",
         "Steuer-ID 86095742719", "Aadhaar 234123412346", "teudat zehut: 123456782", "personnummer 8112289874",
         "DNI 12345678Z"],
        ["SSN: 000221234", "BSN 111222334", "PESEL: 44051401358", "NHS number 943 476 5918", "cpf=52998224724",
         "dni 12345678A", "session 111222333", "Aadhaar 134123412346"],
    ),
    "passport_mrz": (
        "passport.mrz",
        in_contexts(MRZ, MRZ.replace("\n", " "), MRZ.replace("\n", "\r\n")),
        [MRZ_NAMES, MRZ.replace("L898902C3", "L898902C4"), MRZ.replace("7408122", "7408123"), MRZ.replace("1204159", "1204158"),
         MRZ.lower(), MRZ.replace("P<", "V<", 1), "PASSPORT<<", MRZ[:60], MRZ.replace("UTO7", "U1O7")],
    ),
    "birth_date_worded": (
        "dob.worded",
        ["DOB: 1980-02-29", "date of birth 12/31/1975", "born on 1990-01-01", "birth date: 31.12.1975", "Birthday 1/2/2003",
         "birthdate=1980/05/06", "Born: 03-04-1950", "dob 1999-12-31."],
        ["DOB: 1981-02-29", "date 1980-02-28", "born to run", "birth rate 12.5", "dob: 1980", "reborn 1980-02-28",
         "DOB: 1980-13-01", "born 12345"],
    ),
    "geo_pair": (
        "geo.value",
        in_contexts("40.7128, -74.0060", "-33.8688,151.2093", "51.50735; -0.12776", "48.8566140,2.3522219"),
        ["40.71, -74.00", "91.1234, 10.1234", "40.7128, 181.0060", "40.7128", "1.2.3456, 7.8901", "40.7128, -74.0060.1",
         "140.7128, -74.0060", "0.1234,0.5678,0.9012", "v40.7128,-74.0060"],
    ),
    "jwt": (
        "jwt.value",
        in_contexts(JWT, JWT.rpartition(".")[0] + "."),
        ["eyJhbGciOiJIUzI1NiJ9", "eyJub3RoaW5nIjoxfQ.eyJzdWIiOiIxIn0.abc", "x" + JWT, "eyJ!!!.eyJ.abc",
         JWT.replace(".", ":"), "eyJhbGciOiJIUzI1NiJ9.", JWT.replace("eyJh", "eyKh", 1), "EYJHBGCI.EYJ.ABC",
         "eyJhbGciOiJIUzI1NiJ9.abc"],
    ),
    "private_key": (
        "private_key.pem",
        in_contexts("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "-----BEGIN PRIVATE KEY-----", "-----BEGIN EC PRIVATE KEY-----",
                    "-----BEGIN OPENSSH PRIVATE KEY-----", "-----BEGIN ENCRYPTED PRIVATE KEY-----",
                    "-----BEGIN PGP PRIVATE KEY BLOCK-----"),
        ["-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----", "BEGIN PRIVATE KEY", "----BEGIN PRIVATE KEY----",
         "-----END PRIVATE KEY-----", "-----BEGIN RSA PUBLIC KEY-----", "-----begin private key-----",
         "-----BEGIN PGP MESSAGE-----", "-----BEGIN PRIVATE"],
    ),
    "aws_access_key": (
        "aws_access_key",
        in_contexts("AKIAIOSFODNN7EXAMPLE", "ASIA5FLZVX4OI4ZDQJOL"),
        ["AIDAICAK2CN5MGHIIDIHA", "AROA5FLZVX4OAMSW6BCRH", "AKIAIOSFODNN7EXAMPL", "AKIAIOSFODNN7EXAMPLE2",
         "XAKIAIOSFODNN7EXAMPLE", "akiaiosfodnn7example", "AKIA1OSFODNN7EXAMPLE", "AKIA-OSFODNN7EXAMPLE", "ASIA"],
    ),
    "vendor_key": (
        "",
        ["ghp_" + "a1B2" * 9, "github_pat_" + "a1B2_" * 6, "glpat-abcdefghij0123456789", "xox" + "b-123456789012-abcdefGHIJ",
         "sk_" + "live_" + "a1B2c3D4" * 3, "AIza" + "SyA1" * 8 + "abc", "npm_" + "a1B2" * 9, "sk-" + "a1B2" * 8,
         "https://hooks.slack.com/services/T00000000/B00000000/" + "a1B2" * 6, "SG." + "a" * 22 + "." + "b" * 43,
         "key ghs_" + "a1B2" * 9 + "!"],
        ["ghp_short", "ghx_" + "a1B2" * 9, "glpat-short", "sk_" + "test", "AIza" + "a" * 20, "task-" + "a1B2" * 8, "npm_install",
         "hooks.slack.com/services/", "xghp_" + "a1B2" * 9, "SG.Singapore", "disk-" + "a1B2" * 8],
    ),
    "azure": (
        "azure_",
        in_contexts("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=" + "aB3/" * 21 + "ab==",
                    "Endpoint=sb://x/;SharedAccessKey=" + "aB3+" * 10 + "abc=",
                    "https://a.blob.core.windows.net/c?sv=2020&sig=" + "aB3%2F" * 8),
        ["AccountKey=", "AccountKey=short", "SharedAccessKeyName=RootManage", "?sig=abc", "signature=" + "a" * 50, "AccountName=a",
         "&sig=", "AccountKey=<key>"],
    ),
    "url_credentials": (
        "url.credentials",
        in_contexts("postgres://app:s3cretpw@db.example.com/x", "https://u:pw12@host/", "redis://:hunter22@10.1.2.3:6379",
                    "amqp://guest:guest@[::1]/"),
        ["https://host:443/a@b", "https://host/", "https://user@host/", "postgres://app:***@db/x", "postgres://app:$PW@db/x",
         "mailto:a@b", "http://h/p?x=a:b@c", "postgres://app:{password}@db/x", "://:@"],
    ),
    "assignment": (
        "",
        ["password=hunter22", "Password: s3cret!", 'api_key="a1b2c3d4e5"', "apikey: a1b2c3d4e5", "client_secret=a1b2c3d4e5f6",
         "pwd=letmein9", "access_token = a1b2c3d4e5", "aws_secret_access_key=" + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
         "PASSPHRASE: correct9"],
        ["password=***", "password: $PASSWORD", "password == other", "Password Last Set:\t\t<never>", "password policy: strong",
         "api_key=short", "api-key: placeholder", "pwd=%PASS%", "password=xxxxxxxx", "secret: internal", "password=null"],
    ),
    "authorization": (
        "authorization.value",
        ["Bearer a1B2c3D4e5F6a7B8c9D0e1", "Authorization: Bearer a1B2c3D4e5F6a7B8c9D0e1", "Basic dXNlcjpwYXNz0dvcmQ=",
         "bearer A1b2C3d4E5f6A7b8C9d0", "curl -H 'Authorization: Basic QWxhZGRpbjpPcGVu0w=='", "x Bearer 0aB1cD2eF3aB1cD2eF3aB",
         "Bearer " + LONG, "BEARER a1B2c3D4e5F6a7B8c9D0e1"],
        ["Bearer token", "bearer of good news everyone", "Basic authentication", "Basic understanding required", "Bearer <token>",
         "bearer abcdefghijklmnopqrstuvwxyz", "forbearer A1b2C3d4E5f6A7b8C9d0", "Basic networking-fundamentals"],
    ),
}  # fmt: skip
