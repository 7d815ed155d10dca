/**
 * Where `rfaas invoke` has its input from: the command line, a file, or stdin. Stdin is read when it is named, and for a function
 * that needs a value when none is named and stdin is a pipe or a file. While it waits for stdin, it says on stderr what it reads.
 */
import { createReadStream, fstatSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { isatty } from "node:tty";
import { EnvironmentError, UsageError } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { formatBytes } from "../../base/units.ts";
import { log } from "./log.ts";

const STDIN = 0;
/** More fits into no lease beside a result. */
export const MAX_INPUT_BYTES = 2 ** 31 - 1;
/** A pipe that ends sooner causes no notice. */
const NOTICE_AFTER_MS = 1_000;

/** What `--json` and `--input` say. Undefined when neither was given. Throws `UsageError` on what is no JSON. */
export async function readInput(
  json: string | undefined,
  input: string | undefined,
): Promise<Uint8Array | undefined> {
  if (json !== undefined && input !== undefined)
    throw new UsageError("--json and --input exclude each other; give one of them");
  if (json === "-") {
    const text = textOf(await readStdin("--json -"), "--json -").trim();
    if (text === "")
      throw new UsageError("--json - found nothing on stdin; pipe a JSON value to it");
    requireJson(text, "stdin, as --json - reads it,", "pipe one JSON value to it");
    return Buffer.from(text);
  }
  if (json !== undefined) {
    requireJson(json, "--json", `quote it for the shell, as in --json '{"n": 1}'`);
    return Buffer.from(json);
  }
  if (input === undefined) return undefined;
  return input === "-" ? await readStdin("--input -") : await readInputFile(input);
}

/**
 * The JSON text for a function that may need a value, where neither option gave one: from stdin when that is a pipe or a file. Without
 * one, undefined unless it is `needed`.
 *
 * @throws {UsageError} the value is needed, and stdin is a terminal, which no user means to type at, or `/dev/null`, or empty
 */
export async function readPipedValue(
  name: string,
  needed: boolean,
): Promise<Uint8Array | undefined> {
  const bytes = isPiped() ? await readStdin(`"${name}"`) : undefined;
  if (bytes === undefined || bytes.length === 0) {
    if (!needed) return undefined;
    throw new UsageError(
      `"${name}" needs a value, and ${bytes ? "stdin was empty" : "none was given"}; pass --json '<value>' or --input FILE, or pipe a JSON value to stdin`,
    );
  }
  return bytes;
}

/** The value of a JSON text for the function. Throws `UsageError`. */
export function parseValue(bytes: Uint8Array, name: string): unknown {
  try {
    return JSON.parse(textOf(bytes, `the input of "${name}"`));
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    throw new UsageError(
      `"${name}" works on values, and its input is not JSON (${(cause as Error).message}); pass --json '<value>'`,
      { cause },
    );
  }
}

function requireJson(text: string, what: string, advice: string): void {
  try {
    JSON.parse(text);
  } catch (cause) {
    throw new UsageError(`${what} is not JSON (${(cause as Error).message}); ${advice}`, { cause });
  }
}

function textOf(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new UsageError(`${what} is not UTF-8 text; give it as JSON in UTF-8`, { cause });
  }
}

/** Whether stdin is a pipe, a socket or a file, and not a terminal or `/dev/null`. */
function isPiped(): boolean {
  try {
    const kind = fstatSync(STDIN);
    return kind.isFIFO() || kind.isSocket() || kind.isFile();
  } catch {
    return false;
  }
}

/** All of stdin. `reader` names the function that needs it, in the notice on stderr while the command waits. */
async function readStdin(reader: string): Promise<Uint8Array> {
  const atTerminal = isatty(STDIN);
  const notice = setTimeout(
    () =>
      log.info(
        `${reader} reads its input from stdin${atTerminal ? ": end it with Ctrl-D" : ", which has not ended yet; --json '<value>' or --input FILE leave stdin alone"}`,
      ),
    atTerminal ? 0 : NOTICE_AFTER_MS,
  );
  try {
    return await readStream(createReadStream("", { fd: STDIN, autoClose: false }), "stdin");
  } catch (cause) {
    throw unreadable("stdin", cause, "connect it to a file or a pipe");
  } finally {
    clearTimeout(notice);
  }
}

async function readInputFile(path: string): Promise<Uint8Array> {
  const what = `--input ${path}`;
  try {
    const { size } = await stat(path);
    if (size > MAX_INPUT_BYTES) throw tooLong(what);
    // A pipe, or a file of /proc, has no size.
    return size > 0 ? await readFile(path) : await readStream(createReadStream(path), what);
  } catch (cause) {
    throw unreadable(what, cause, "name a readable file, or - for stdin");
  }
}

async function readStream(stream: AsyncIterable<Buffer>, what: string): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of stream) {
    bytes += part.length;
    if (bytes > MAX_INPUT_BYTES) throw tooLong(what);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function tooLong(what: string): UsageError {
  return new UsageError(
    `${what} has more than the ${formatBytes(MAX_INPUT_BYTES + 1)} that a call can take; give it in parts`,
  );
}

function unreadable(what: string, cause: unknown, advice: string): Error {
  if (cause instanceof UsageError) return cause;
  return new EnvironmentError(`cannot read ${what}: ${reasonOf(cause)}; ${advice}`, {
    cause,
  });
}
