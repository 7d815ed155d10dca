import { UsageError } from "../../../src/base/errors.ts";
import {
  formatBytes,
  formatDuration,
  parseBytes,
  parseDuration,
  parseMoment,
} from "../../../src/base/units.ts";
import {
  formatAddress,
  foundAt,
  isEverywhere,
  isLoopback,
  parseAddress,
} from "../../../src/control/address.ts";
import { readFingerprint } from "../../../src/trust/fingerprint.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { bytesOf, must, outcome, same, textOf } from "./outcome.ts";

const HEX = "0123456789abcdef".repeat(4);
const texts = [
  ...[
    "node:7000",
    "/run/rfaas.sock",
    "unix:/a/b",
    "unix:///a",
    "unix://a",
    "unix:name",
    "@abstract",
  ],
  ...[
    "[::1]:5",
    "[fe80::1%eth0]:65535",
    "fe80::1:80",
    "::1:2",
    "1.2.3.4:9",
    "1.2.3:9",
    "bücher.de:1",
  ],
  ...[
    `rfaas://h:1?ca=sha256:${HEX}`,
    `rfaas://[::]:1/?key=sha256:${HEX}`,
    "rfaas://h:1?x=y",
    "h:1?ca=",
  ],
  ...[
    "~/x.sock",
    "http://h:1",
    "h:99999",
    "h:",
    ":1",
    "a/.",
    "c:\\x",
    "\u200bh:1",
    "name.sock",
    "a:b.sock",
  ],
  ...[`sha256:${(HEX.match(/../g) ?? []).join(":")}`, `sha256:${HEX}`, "0.0.0.0:1", "localhost:1"],
  ...["512MiB", "1.5 GB", "64k", "0", "30s", "1.5h", "250ms", "7 d", "5"],
  ...[
    "2026-03-01",
    "2026-03-01T12:00:00Z",
    "2026-02-30",
    "2026-03-01 12:00:00.5+01:00",
    "2026-03-01T25:00",
  ],
];

/** Texts that people write: each is an address, a size, a duration or a moment, or is refused. */
export const subject: Subject = {
  seeds: texts.map(bytesOf),
  tokens: ["::ffff:", "xn--", "%lo", "é", "\u202e", "127.0.0.1", ".", "-", "MiB", "ms", "T00:00"],
  maxBytes: 300,
  run(input) {
    const text = textOf(input);
    const address = outcome(() => parseAddress(text), UsageError);
    if (address) {
      const written = formatAddress(address);
      same(parseAddress(written), address, `${written} is read otherwise`);
      if (address.kind === "tcp") isLoopback(address.host);
      if (isEverywhere(address)) foundAt(address);
      else same(foundAt(address), written, "is found elsewhere");
    }
    const fingerprint = readFingerprint(text);
    if (fingerprint !== undefined) same(readFingerprint(fingerprint), fingerprint, "another key");
    const bytes = outcome(() => parseBytes(text, "it"), UsageError);
    if (bytes !== undefined) must(formatBytes(bytes).length > 0 && bytes >= 1, "is no size");
    for (const bare of [undefined, "s", "ms"] as const) {
      const ms = outcome(() => parseDuration(text, "it", bare), UsageError);
      if (ms !== undefined) same(parseDuration(formatDuration(ms), "it"), ms, "lasts otherwise");
    }
    const moment = outcome(() => parseMoment(text, "it", 1e12), UsageError);
    if (moment !== undefined) must(Number.isFinite(moment), "is no moment");
  },
};
