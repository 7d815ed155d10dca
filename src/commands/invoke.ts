import { closeSync, openSync, writeSync } from "node:fs";
import { Type } from "@sinclair/typebox";
import { LAYOUT, MAX_ARENA_BYTES } from "../../ffi/layout.ts";
import { invoker } from "../client/invoker.ts";
import type { AllocateOptions } from "../client/options/allocate-options.ts";
import type { CallProgress } from "../client/options/call-options.ts";
import type { Lease } from "../client/lease/lease.ts";
import { nearNames } from "../base/near-names.ts";
import type { LeaseEventOf } from "../client/events/lease-event.ts";
import { EnvironmentError, UsageError } from "../base/errors.ts";
import { MAX_LEASE_CORES } from "../protocol/messages.ts";
import { reasonOf } from "../base/system-errors.ts";
import { formatBytes, parseBytes } from "../base/units.ts";
import type { Command } from "./shared/command.ts";
import { parseValue, readInput, readPipedValue, valueOfNothing } from "./shared/input.ts";
import { toJson } from "./shared/json-values.ts";
import { log } from "./shared/log.ts";
import { fabricFlags, fabricOptions, readFabric } from "./shared/fabric-options.ts";
import {
  addressOption,
  duration,
  durationOption,
  flag,
  polling,
  readOptions,
  size,
  tcpAddressOption,
  text,
  whole,
} from "./shared/options.ts";
import { splitTarget } from "./shared/target.ts";
import {
  packageFlags,
  packageOptions,
  packageTerms,
  readPackageOptions,
  showProgress,
} from "./shared/package-options.ts";

const Options = Type.Object({
  json: Type.Optional(text),
  input: Type.Optional(text),
  output: Type.Optional(text),
  outputSize: Type.Optional(size),
  node: Type.Optional(text),
  manager: Type.Optional(text),
  nodes: Type.Optional(text),
  repeat: Type.Optional(whole(1, 1_000_000_000)),
  workers: Type.Optional(whole(1, LAYOUT.maxWorkers)),
  coresPerWorker: Type.Optional(whole(1, MAX_LEASE_CORES)),
  polling: Type.Optional(polling),
  deadline: Type.Optional(duration),
  timings: Type.Optional(flag),
  ...packageOptions,
  ...fabricOptions,
});
type Options = ReturnType<typeof readOptions<typeof Options>>;

/** Room for a result when `--output-size` says nothing: what came in, and this much at least. */
const MIN_OUTPUT_BYTES = 1024 * 1024;
/** Room to begin with, for each value in flight. */
const VALUE_BUFFER_BYTES = 8192;
const STDOUT = 1;
const DEADLINE = { bare: "ms", minimumMs: 1, maximumMs: 2 ** 31 - 1 } as const;

/** What every call of the command is made with. */
interface CallLimit {
  deadlineMs?: number;
}

export const invoke: Command = {
  usage: "invoke <FILE[#function]>",
  summary: "call a function of a module and print what it writes",
  description: `Leases workers, lets them load the module, calls the function with the input's bytes, and writes the bytes that it
produces to stdout. The module is TypeScript or JavaScript with its own imports and node_modules, a native library (.so), or
WebAssembly (.wasm); it is bundled, and sent to the node if it has not got it. FILE.rfaas, a package, and package:HASH, one that the
node has, do too. Without #function the module's only function is called, or its default export.

A function takes its input and its output as Uint8Arrays and returns how many bytes it wrote:

    export function double(input: Uint8Array, output: Uint8Array): number {
      const n: number = JSON.parse(new TextDecoder().decode(input));
      return new TextEncoder().encodeInto(JSON.stringify(2 * n), output).written;
    }

One of a library is uint32_t f(void *input, uint32_t bytes, void *output), from C, C++ (extern "C"), Fortran (bind(C)), Rust
(extern "C") or another language; it must know how much its output holds. One of WebAssembly has the same arguments, as i32.

One that is defined with a schema takes and returns a value, which --json passes and stdout shows as JSON. Without --json and
--input, one that needs a value reads it from stdin when that is a pipe or a file; after a second it says on stderr that it waits.
A terminal and /dev/null are not read, nor is anything for a function on bytes or one that can be called with nothing:

    import { Type, defineFunction } from "rfaas/function";

    export const double = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => 2 * n);`,
  options: [
    {
      flag: "--json <value>",
      description: "the input: this JSON text, or its value; - for JSON on stdin",
    },
    { flag: "--input <file>", description: "the input: this file's bytes, - for stdin" },
    { flag: "--output <file>", description: "write the result here (default: -, stdout)" },
    {
      flag: "--output-size <size>",
      description: "room for the result (default: the input's size, 1MiB at least)",
    },
    {
      flag: "--node <address>",
      description:
        "use a running node (default: $RFAAS_NODE, else one of $RFAAS_MANAGER's, else a private one)",
    },
    { flag: "--manager <address>", description: "use one of the nodes that a manager knows" },
    { flag: "--nodes <file>", description: "use one of the nodes of a list, such as nodes.json" },
    {
      flag: "-n, --repeat <n>",
      description: "call so often, print the last result and, on stderr, the times",
    },
    { flag: "--workers <k>", description: "spread the calls over so many workers (default: 1)" },
    {
      flag: "--cores-per-worker <n>",
      description: "cores that a worker's threads and child processes have, billed (default: 1)",
    },
    { flag: "--polling <mode>", description: "hot, warm or adaptive (default: the node's)" },
    {
      flag: "--deadline <duration>",
      description: "give up on a call after so long, as 5s or in milliseconds (default: none)",
    },
    { flag: "--timings", description: "print on stderr where the time of the last call went" },
    ...packageFlags,
    ...fabricFlags,
  ],
  examples: [
    ["rfaas invoke fn.ts#double --json 21", "prints 42"],
    ["rfaas invoke fn.ts#double < value.json", "the value from a file; a pipe does too"],
    ["rfaas invoke libfunctions.so#sum --input numbers.bin", "a function of a native library"],
    ["rfaas invoke resize.ts --input cat.jpg --output small.jpg", "files"],
    ["rfaas invoke fn.ts --json 21 -n 100000 --polling hot", "how long does it take?"],
  ],
  terms: { ...packageTerms, deadlineMs: "--deadline", "{ memory }": "a larger --output-size" },
  async run(args, raw) {
    const [target, ...more] = args;
    if (target === undefined)
      throw new UsageError(
        "invoke needs a module, such as fn.ts or fn.ts#name; see: rfaas help invoke",
      );
    if (more.length > 0) throw new UsageError(`invoke takes one module; "${more[0]}" is too many`);
    const options = readOptions(Options, raw);
    const [module, named] = splitTarget(target);
    const deadlineMs = durationOption("--deadline", options.deadline, DEADLINE);
    const limit = deadlineMs === undefined ? {} : { deadlineMs };
    addressOption("--node", options.node, "RFAAS_NODE");
    tcpAddressOption("--manager", options.manager, "RFAAS_MANAGER");

    const given = await readInput(textOf(options.json), textOf(options.input));
    const bytes = given ?? new Uint8Array(0);
    const outputSize =
      options.outputSize === undefined
        ? undefined
        : parseBytes(options.outputSize, "--output-size");
    const capacityFor = (inputBytes: number) =>
      outputSize ?? Math.max(MIN_OUTPUT_BYTES, inputBytes);
    // The file is opened first: a path that cannot be written must not cost a call.
    const destination = openOutput(options.output === undefined ? "-" : String(options.output));

    const workers = options.workers ?? 1;
    const allocationFor = (inputBytes: number): AllocateOptions => ({
      workers,
      memory: memoryFor(inputBytes, workers, capacityFor(inputBytes)),
      onLog: showLine,
      ...(options.coresPerWorker === undefined ? {} : { coresPerWorker: options.coresPerWorker }),
      ...(options.polling === undefined ? {} : { polling: options.polling }),
      ...readPackageOptions(options),
      onProgress: showProgress(),
    });
    await using taken = await takeLease(module, allocationFor(bytes.length), options);
    const { lease } = taken;
    const name = named ?? onlyFunction(module, lease.functions);
    if (lease.kindOf(name) !== "raw") {
      const schema = lease.parts.functions.describe(name).input;
      const nothing = given ? undefined : valueOfNothing(schema);
      const text = given ?? (nothing ? undefined : await readPipedValue(name, schema));
      const value = text ? parseValue(text, name) : nothing?.value;
      // What came by a pipe was not reckoned with.
      const larger = (text?.length ?? 0) > bytes.length + VALUE_BUFFER_BYTES;
      if (larger) await taken[Symbol.asyncDispose]();
      await using roomy = larger
        ? await takeLease(module, allocationFor(text!.length), options)
        : undefined;
      const result = await callTyped(roomy?.lease ?? lease, name, value, limit, options);
      writeAll(destination, Buffer.from(`${result}\n`));
      if (destination !== STDOUT) closeSync(destination);
      return;
    }
    const input = lease.input(Uint8Array, bytes.length);
    input.set(bytes);
    const outputs = Array.from({ length: workers }, () =>
      lease.output(Uint8Array, capacityFor(bytes.length)),
    );
    const result = await callRepeatedly(lease, name, input, outputs, limit, options);
    writeAll(destination, result);
    if (options.json !== undefined && destination === STDOUT && result.at(-1) !== 0x0a)
      writeAll(destination, Buffer.from("\n"));
    if (destination !== STDOUT) closeSync(destination);
  },
};

/** For the input and each worker's result. Throws `UsageError` when that is more than a lease has. */
function memoryFor(inputBytes: number, workers: number, capacity: number): number {
  // What a typed function needs is not known before it is called: as much for its input, and some to begin with.
  const bytes = 2 * inputBytes + workers * (capacity + VALUE_BUFFER_BYTES) + 4096;
  if (bytes > MAX_ARENA_BYTES)
    throw new UsageError(
      `an input of ${formatBytes(inputBytes)} and ${formatBytes(capacity)} for the result of each of ${workers} workers are more than the 4 GiB of a lease; give a smaller --output-size or fewer --workers`,
    );
  return bytes;
}

/** Calls a typed function. Returns the result as JSON. */
async function callTyped(
  lease: Lease,
  name: string,
  value: unknown,
  limit: CallLimit,
  { repeat = 1, timings }: Options,
): Promise<string> {
  if (timings)
    throw new UsageError(
      `--timings is for functions that work on buffers, and "${name}" works on values; leave it away`,
    );
  const call = lease.function<unknown>(name);
  const options = {
    ...limit,
    onProgress: ({ fraction, message }: CallProgress) =>
      log.info(`${Math.round(100 * fraction)} %${message === undefined ? "" : ` ${message}`}`),
  };
  const startedNs = Bun.nanoseconds();
  let result: unknown;
  for (let done = 0; done < repeat; done += lease.workers) {
    const calls = Array.from({ length: Math.min(lease.workers, repeat - done) }, (_, worker) =>
      call(value, { ...options, worker }),
    );
    result = (await Promise.all(calls)).at(-1);
  }
  if (repeat > 1) logMean(repeat, Bun.nanoseconds() - startedNs);
  return toJson(result);
}

function textOf(value: string | number | undefined): string | undefined {
  return value === undefined ? undefined : String(value);
}

function logMean(calls: number, elapsedNs: number): void {
  log.info(
    `${calls} calls in ${(elapsedNs / 1e6).toFixed(1)} ms: ${(elapsedNs / calls / 1000).toFixed(2)} us a call`,
  );
}

function showLine({ level, message, data }: LeaseEventOf<"log">): void {
  log[level](data === undefined ? message : `${message} ${JSON.stringify(data)}`);
}

interface TakenLease extends AsyncDisposable {
  lease: Lease;
}

/** A lease on the node that is named, or on one of those of a manager or a list. Ends with its connections. */
async function takeLease(
  module: string,
  allocation: AllocateOptions,
  options: Options,
): Promise<TakenLease> {
  const { node, manager, nodes } = options;
  const where = Object.entries({ "--node": node, "--manager": manager, "--nodes": nodes });
  const given = where.flatMap(([flag, value]) => (value === undefined ? [] : [flag]));
  if (given.length > 1)
    throw new UsageError(`${given.join(" and ")} exclude each other; name one of them`);
  const fabric = readFabric(options);
  await using stack = new AsyncDisposableStack();
  let lease: Lease;
  if (manager !== undefined || nodes !== undefined) {
    const cluster = stack.use(
      await (manager !== undefined
        ? invoker({ ...fabric, manager: String(manager) })
        : invoker({ ...fabric, nodes: String(nodes) })),
    );
    // All on one node: the calls share one input.
    const group = await cluster.allocate(module, { ...allocation, nodes: 1 });
    lease = group.leases[0]!;
  } else {
    const rf = await invoker({ ...fabric, ...(node === undefined ? {} : { node: String(node) }) });
    lease = await stack.use(rf).allocate(module, allocation);
  }
  const kept = stack.move();
  return { lease, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

function onlyFunction(module: string, functions: readonly string[]): string {
  if (functions.length === 1) return functions[0]!;
  if (functions.includes("default")) return "default";
  throw new UsageError(
    `${module} has several functions (${nearNames("", functions)}); choose one: rfaas invoke ${module}#${functions[0]}`,
  );
}

async function callRepeatedly(
  lease: Lease,
  name: string,
  input: Uint8Array<ArrayBuffer>,
  outputs: readonly Uint8Array<ArrayBuffer>[],
  limit: CallLimit,
  { repeat = 1, timings }: Options,
): Promise<Uint8Array> {
  const startedNs = Bun.nanoseconds();
  for (let done = 0; done < repeat - 1;) {
    const batch = outputs.slice(0, repeat - 1 - done);
    await Promise.all(
      batch.map((output, worker) => lease.submit(name, input, output, { ...limit, worker })),
    );
    done += batch.length;
  }
  const output = outputs[0]!;
  const call = lease.submit(name, input, output, {
    ...limit,
    worker: 0,
    timings: timings ?? false,
  });
  const written = await call;
  const elapsedNs = Bun.nanoseconds() - startedNs;
  if (repeat > 1) logMean(repeat, elapsedNs);
  if (call.timings) {
    const parts = Object.entries(call.timings).map(
      ([part, ns]) => `${part.slice(0, -2)} ${Math.round(ns)} ns`,
    );
    log.info(parts.join(", "));
  }
  return output.subarray(0, written);
}

function openOutput(path: string): number {
  if (path === "-") return STDOUT;
  try {
    return openSync(path, "w");
  } catch (cause) {
    throw new EnvironmentError(
      `cannot write --output ${path}: ${reasonOf(cause)}; name a writable file, or - for stdout`,
      { cause },
    );
  }
}

/** Synchronous, so that nothing is lost when the command exits; a full disk is an error, a closed pipe is not. */
function writeAll(fd: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length;) {
    try {
      written += writeSync(fd, bytes, written);
    } catch (cause) {
      const { code } = cause as { code?: string };
      if (code === "EAGAIN") continue;
      if (code === "EPIPE") return;
      throw new EnvironmentError(
        `the result could not be written: ${reasonOf(cause)}; choose another --output`,
        { cause },
      );
    }
  }
}
