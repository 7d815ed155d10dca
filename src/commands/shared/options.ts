/** Reading options: one schema a command, checked by TypeBox, errors in the words of the command line. */
import { type StaticDecode, type TSchema, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { UsageError } from "../../base/errors.ts";
import { type Address, parseAddress } from "../../control/address.ts";
import { formatBytes, formatDuration, parseBytes, parseDuration } from "../../base/units.ts";

/** A whole number within bounds. */
export const whole = (minimum: number, maximum: number) =>
  Type.Integer({
    minimum,
    maximum,
    errorMessage: `must be a whole number from ${minimum} to ${maximum}`,
  });

/** A size such as `2GiB`; checked by {@link bytesOption}. */
export const size = Type.Union([Type.String(), Type.Number()], {
  errorMessage: "must be a size such as 512MiB or 4096",
});

export const text = Type.Union([Type.String(), Type.Number()], { errorMessage: "needs a value" });

/** A duration such as `30s`; checked by {@link durationOption}. */
export const duration = text;

/** An option that may be given several times. */
export const texts = Type.Union([text, Type.Array(text)], { errorMessage: "needs a value" });

/** What was given for {@link texts}. */
export function listOf(given: string | number | (string | number)[] | undefined): string[] {
  return given === undefined ? [] : [given].flat().map(String);
}

export const flag = Type.Boolean({ errorMessage: "takes no value" });

export const polling = Type.Union(
  [Type.Literal("hot"), Type.Literal("warm"), Type.Literal("adaptive")],
  {
    errorMessage: "must be hot, warm or adaptive",
  },
);

/** The options a command knows, typed. Throws {@link UsageError} that names the option. */
export function readOptions<Schema extends TSchema>(
  schema: Schema,
  options: Record<string, unknown>,
): StaticDecode<Schema> {
  const { "--": _rest, ...written } = options;
  const given = withNumbers(schema, written);
  const first = Value.Errors(schema, given).First();
  if (first) {
    const name = first.path.split("/")[1] ?? "";
    const flag =
      name.length === 1 ? `-${name}` : `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`;
    if (Array.isArray(first.value)) throw new UsageError(`${flag} is given more than once`);
    const message = (first.schema["errorMessage"] as string | undefined) ?? first.message;
    throw new UsageError(`${flag} ${message}; it is ${JSON.stringify(first.value)}`);
  }
  return given as StaticDecode<Schema>;
}

/** Numbers where the schema wants them and one is written out as such: `1e9` and `007` are none. */
function withNumbers(schema: TSchema, written: Record<string, unknown>): Record<string, unknown> {
  const properties = (schema["properties"] ?? {}) as Record<string, TSchema>;
  const given: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(written)) {
    const isNumber =
      properties[name]?.["type"] === "integer" &&
      typeof value === "string" &&
      /^-?[\d.]+$/.test(value) &&
      String(Number(value)) === value;
    given[name] = isNumber ? Number(value) : value;
  }
  return given;
}

/**
 * Milliseconds of a duration option, or undefined when it was not given. A number without a unit is of the unit `bare`.
 *
 * @throws {UsageError} when it is no duration, or not from `minimumMs` to `maximumMs`
 */
export function durationOption(
  name: string,
  value: string | number | undefined,
  limits: { bare?: "ms" | "s"; minimumMs: number; maximumMs: number },
): number | undefined {
  if (value === undefined) return undefined;
  const ms = parseDuration(value, name, limits.bare);
  const { minimumMs, maximumMs } = limits;
  if (ms < minimumMs || ms > maximumMs)
    throw new UsageError(
      `${name} must be from ${formatDuration(minimumMs)} to ${formatDuration(maximumMs)}; it is ${JSON.stringify(value)}`,
    );
  return ms;
}

/**
 * The address that an option names or, when it was not given, a variable of the environment; undefined when neither does.
 *
 * @throws {UsageError} that says which of them it was
 */
export function addressOption(
  name: string,
  value: string | number | undefined,
  variable?: string,
): Address | undefined {
  const inherited = variable === undefined ? "" : (process.env[variable] ?? "");
  const text = value === undefined ? inherited : String(value);
  if (value === undefined && text === "") return undefined;
  try {
    return parseAddress(text);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`${value === undefined ? variable : name}: ${error.message}`);
  }
}

/** As {@link addressOption}, of what is reached by TCP only, such as a manager. */
export function tcpAddressOption(
  name: string,
  value: string | number | undefined,
  variable?: string,
): (Address & { kind: "tcp" }) | undefined {
  const address = addressOption(name, value, variable);
  if (address?.kind !== "unix") return address;
  throw new UsageError(
    `${value === undefined ? variable : name} must be HOST:PORT; it is the path ${address.path}`,
  );
}

/** Bytes of a size option that may be nothing at all, up to `maximum`. */
export function smallSizeOption(
  name: string,
  value: string | number | undefined,
  maximum: number,
): number | undefined {
  if (value === undefined || String(value) === "0") return value === undefined ? undefined : 0;
  const bytes = parseBytes(value, name);
  if (bytes > maximum)
    throw new UsageError(
      `${name} is at most ${formatBytes(maximum)}; it is ${JSON.stringify(value)}`,
    );
  return bytes;
}

/** Bytes of a size option, or undefined when it was not given. */
export function bytesOption(name: string, value: string | number | undefined): number | undefined {
  return value === undefined ? undefined : parseBytes(value, name);
}
