/**
 * The keys of nodes that this user has met and pinned nowhere: a line `HOST:PORT sha256:HEX` each in `known_nodes`. The file is only ever
 * appended to, a line at a time, so that programs may do so at once; `HOST:PORT forgotten` takes back what is above it.
 */
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { KeyChanged, PeerNotTrusted } from "../base/errors.ts";
import { reasonOf } from "../base/system-errors.ts";
import { areWarningsShown, tell, warnOnce } from "../base/warnings.ts";
import { type Fingerprint, readFingerprint } from "./fingerprint.ts";

const FORGOTTEN = "forgotten";

/** `$XDG_CONFIG_HOME/rfaas/known_nodes`, or `~/.config/rfaas/known_nodes`. */
export function knownNodesFile(): string {
  const base = process.env["XDG_CONFIG_HOME"];
  const home = process.env["HOME"] || homedir();
  return join(base?.startsWith("/") ? base : join(home, ".config"), "rfaas", "known_nodes");
}

/**
 * Remembers the key of what answers at `place`, `HOST:PORT`, when it is met there first.
 *
 * @throws {KeyChanged} it had another key before
 * @throws {PeerNotTrusted} it is new, and the user would not hear of it
 */
export function meet(
  place: string,
  key: Fingerprint,
  file = knownNodesFile(),
  what: "node" | "manager" = "node",
): void {
  const before = read(file);
  const remembered = before.keys.get(place.toLowerCase());
  if (remembered !== undefined) return compare(place, key, remembered, { file, what });
  if (!areWarningsShown())
    throw new PeerNotTrusted(
      `the ${what} at ${place} is new, which no line can say here; connect once by a command, such as rfaas ps`,
      { address: place, seen: key },
    );
  if (!append(file, `${place.toLowerCase()} ${key}`, before.endsInLine)) return;
  // Of two programs that meet different keys there at once, the first to write is right.
  const first = read(file).keys.get(place.toLowerCase());
  if (first !== undefined) compare(place, key, first, { file, what });
  tell(`the ${what} at ${place} is new to you: its key ${key} is remembered in ${file}`);
}

/** Forgets the key; returns it, or undefined where none was remembered. Throws as the file system does. */
export function forget(place: string, file = knownNodesFile()): Fingerprint | undefined {
  const before = read(file);
  const key = before.keys.get(place.toLowerCase());
  if (key !== undefined) write(file, `${place.toLowerCase()} ${FORGOTTEN}`, before.endsInLine);
  return key;
}

function compare(
  place: string,
  seen: Fingerprint,
  remembered: Fingerprint,
  { file, what }: { file: string; what: string },
): void {
  if (seen === remembered) return;
  throw new KeyChanged(
    `the ${what} at ${place} has another key than before: ${seen}, and ${remembered} is remembered in ${file}; another machine may have taken its place, so nothing was sent to it: ask who runs it and, where the key was changed on purpose, forget the old one: rfaas node forget ${place}`,
    { address: place, seen, remembered, file },
  );
}

interface Remembered {
  /** By place. */
  keys: Map<string, Fingerprint>;
  /** Else what is appended would continue a line that was cut off. */
  endsInLine: boolean;
}

function read(file: string): Remembered {
  const keys = new Map<string, Fingerprint>();
  let text = "";
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT")
      warnOnce(
        `the keys of nodes in ${file} cannot be read: ${reasonOf(error)}; every node is taken for a new one`,
        "RFAAS_SECURITY",
      );
  }
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [place = "", value = "", ...more] = line.trim().split(/\s+/);
    const key = readFingerprint(value);
    if (more.length > 0 || (key === undefined && value !== FORGOTTEN))
      warnOnce(
        `line ${i + 1} of ${file} is damaged and says nothing; remove it, or make it HOST:PORT sha256:HEX`,
        "RFAAS_SECURITY",
      );
    else if (key === undefined) keys.delete(place.toLowerCase());
    else if (!keys.has(place.toLowerCase())) keys.set(place.toLowerCase(), key);
  }
  return { keys, endsInLine: text === "" || text.endsWith("\n") };
}

/** Whether it could be written; a home that cannot be written to hinders no call. */
function append(file: string, line: string, endsInLine: boolean): boolean {
  try {
    write(file, line, endsInLine);
    return true;
  } catch (error) {
    warnOnce(
      `the key of a new node cannot be remembered in ${file}: ${reasonOf(error)}; pin it in the address with ?key= instead`,
      "RFAAS_SECURITY",
    );
    return false;
  }
}

/** In one write, which the kernel appends as a whole. */
function write(file: string, line: string, endsInLine: boolean): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  appendFileSync(file, `${endsInLine ? "" : "\n"}${line}\n`, { mode: 0o600 });
}
