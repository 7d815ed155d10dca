/**
 * Reads the `devices.json` of the original rFaaS, whose tools write it and whose clients and executors look their device up in it. It
 * is optional here: `devices.ts` finds the devices by itself.
 */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { TypeCompiler, type ValueError } from "@sinclair/typebox/compiler";
import { EnvironmentError, UsageError } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";

const text = (what: string) => Type.String({ minLength: 1, errorMessage: `must be ${what}` });
const whole = (minimum: number, maximum: number) =>
  Type.Integer({
    minimum,
    maximum,
    errorMessage: `must be a whole number from ${minimum} to ${maximum}`,
  });

/** Of a wrong value, in a message. */
const SHOWN_CHARACTERS = 80;

const IP_ADDRESS = "an IP address such as 10.0.0.1";

/** Fields that are not named here are let through: other versions of rFaaS write more of them. */
const DatabaseDevice = Type.Object(
  {
    name: text("the name of an RDMA device such as mlx5_0"),
    ip_address: text(IP_ADDRESS),
    /** 0 leaves the choice to the system, and is what the original's generator writes unless told otherwise. */
    port: whole(0, 65535),
    max_inline_data: whole(0, 0xffffffff),
    default_receive_buffer_size: whole(1, 0xffffffff),
    netdev: Type.Optional(text("the name of a network interface such as eth0")),
  },
  { errorMessage: "must be an object that describes a device" },
);

/** A device, in the file's own words. */
export type DatabaseDevice = Static<typeof DatabaseDevice>;

const Database = Type.Object(
  {
    devices: Type.Array(DatabaseDevice, {
      minItems: 1,
      errorMessage: "must be a list of one device or more",
    }),
  },
  { errorMessage: 'must be an object such as {"devices": [...]}' },
);

/** What an entry says, in the words of this program. */
export interface DatabaseEntry {
  device: string;
  address: string;
  /** The most bytes to send inline, without a registered buffer. */
  maxInline: number;
  /** The TCP-like port of the connection manager; 0 for any. */
  port: number;
  /** How many receives to keep posted. */
  receiveDepth: number;
}

/**
 * The devices of a `devices.json`, one at least, in its order.
 *
 * @throws {EnvironmentError} when the file cannot be read.
 * @throws {UsageError} when it is no JSON, or a field is missing or wrong; the message names the file and the field.
 */
export function readDeviceDatabase(path: string): DatabaseDevice[] {
  const content = parse(path, read(path));
  const database = TypeCompiler.Compile(Database);
  if (!database.Check(content)) throw wrong(path, database.Errors(content).First());
  content.devices.forEach(({ ip_address }, i) => {
    if (isIP(ip_address) === 0)
      throw wrongField(path, `devices[${i}].ip_address`, `must be ${IP_ADDRESS}`, ip_address);
  });
  return content.devices;
}

/**
 * The entry of the device `name`, or the first one.
 *
 * @throws {UsageError} when there is none; the message lists the names there are.
 */
export function fromDatabase(entries: readonly DatabaseDevice[], name?: string): DatabaseEntry {
  const entry = entries.find((device) => (name ?? device.name) === device.name);
  if (!entry) {
    const names = entries.map((device) => device.name).join(", ");
    throw new UsageError(
      names === ""
        ? "the device database is empty; add a device to it"
        : `the device database has no device ${name}; choose one of ${names}, or add it`,
    );
  }
  return {
    device: entry.name,
    address: entry.ip_address,
    maxInline: entry.max_inline_data,
    port: entry.port,
    receiveDepth: entry.default_receive_buffer_size,
  };
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new EnvironmentError(
      `cannot read the device database ${path}: ${reasonOf(cause)}; name a readable file`,
      { cause },
    );
  }
}

function parse(path: string, json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new UsageError(
      `the device database ${path} is not JSON: ${(cause as Error).message}; correct it there`,
      { cause },
    );
  }
}

function wrong(path: string, error: ValueError | undefined): UsageError {
  const schema: TSchema | undefined = error?.schema;
  const message: unknown = schema?.["errorMessage"];
  // `/devices/0/port` is `devices[0].port`.
  const field = (error?.path ?? "")
    .slice(1)
    .replace(/\/(\d+)/g, "[$1]")
    .replaceAll("/", ".");
  return wrongField(
    path,
    field,
    typeof message === "string" ? message : (error?.message ?? "is wrong"),
    error?.value,
  );
}

function wrongField(path: string, field: string, message: string, value: unknown): UsageError {
  const subject = field === "" ? "it" : field;
  const [found, remedy] =
    value === undefined
      ? ["is missing", "add it"]
      : [`is ${JSON.stringify(value).slice(0, SHOWN_CHARACTERS)}`, "correct it"];
  return new UsageError(
    `the device database ${path} is wrong: ${subject} ${message} and ${found}; ${remedy} there`,
  );
}
