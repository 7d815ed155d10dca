/** `rfaas invoke`: calls a function of a module, on a lease that it takes for that. */
import { type Static, Type } from "@sinclair/typebox";
import { MAX_ARENA_BYTES } from "../../ffi/layout.ts";
import { UsageError } from "../base/errors.ts";
import { countOf, formatBytes } from "../base/units.ts";
import type { LeaseEventOf } from "../client/events/lease-event.ts";
import { invoker } from "../client/invoker.ts";
import type { Lease } from "../client/lease/lease.ts";
import { AllocateOptions } from "../client/options/allocate-options.ts";
import { type CallProgress, SubmitOptions } from "../client/options/call-options.ts";
import { InvokerOptions, ManagedClusterOptions } from "../client/options/connect-options.ts";
import { bytes, text, whole, worded } from "../options/fields.ts";
import { inherited, marked, optionsFor } from "../options/flags.ts";
import { defineCommand } from "./shared/command.ts";
import { fabricFields, readFabric } from "./shared/fabric-options.ts";
import { pathField, requireOneOf } from "./shared/fields.ts";
import { kindNamed } from "../kinds/registry.ts";
import { parseValue, readInput, readPipedValue } from "./shared/input.ts";
import { toJson } from "./shared/json-values.ts";
import { log } from "./shared/log.ts";
import { Output } from "./shared/output.ts";
import { onlyFunction, splitTarget } from "./shared/target.ts";
import { Progress, connecting, progressFields } from "./shared/progress.ts";

/** Room for a result when `--output-size` says nothing: what came in, and this much at least. */
const MIN_OUTPUT_BYTES = 1024 * 1024;
/** Room to begin with, for each value in flight. */
const VALUE_BUFFER_BYTES = 8192;
const MAX_REPEAT = 1_000_000_000;
const NEWLINE = 0x0a;

/** Here `nodes` is a list. */
const { nodes: _, ...allocating } = marked(AllocateOptions);
const Options = Type.Object({
  json: Type.Optional(
    text("a JSON text", {
      description: "the input: this JSON text, or its value; - for JSON on stdin",
      placeholder: "value",
    }),
  ),
  input: pathField("file", { description: "the input: this file's bytes, - for stdin" }),
  output: pathField("file", { description: "write the result here", otherwise: "-, stdout" }),
  outputSize: Type.Optional(
    bytes(1, Number.MAX_SAFE_INTEGER, {
      description: "room for the result",
      otherwise: "the input's size, 1MiB at least",
    }),
  ),
  node: worded(InvokerOptions.properties.node, {
    description: "use a running node",
    otherwise: "one of $RFAAS_MANAGER's, else a private one",
  }),
  manager: Type.Optional(
    worded(ManagedClusterOptions.properties.manager, {
      description: "use one of the nodes that a manager knows",
      variable: "RFAAS_MANAGER",
    }),
  ),
  nodes: pathField("file", {
    description: "use one of the nodes of a list, such as nodes.json",
  }),
  repeat: Type.Optional(
    whole(1, MAX_REPEAT, {
      description: "call so often, print the last result and, on stderr, the times",
      default: 1,
      short: "n",
    }),
  ),
  sandbox: worded(InvokerOptions.properties.sandbox, {
    description: "what keeps the functions of a private node apart; none for nothing",
  }),
  ...allocating,
  ...marked(SubmitOptions),
  insecure: InvokerOptions.properties.insecure,
  ...fabricFields,
  ...progressFields,
});
type Options = Static<typeof Options>;

export const invoke = defineCommand({
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
  options: Options,
  examples: [
    ["rfaas invoke fn.ts#double --json 21", "prints 42"],
    ["rfaas invoke fn.ts#double < value.json", "the value from a file; a pipe does too"],
    ["rfaas invoke libfunctions.so#sum --input numbers.bin", "a function of a native library"],
    ["rfaas invoke resize.ts --input cat.jpg --output small.jpg", "files"],
    ["rfaas invoke fn.ts --json 21 -n 100000 --polling hot", "how long does it take?"],
  ],
  completes: ([module]) => (module === undefined ? "function" : undefined),
  terms: { "{ memory }": "a larger --output-size" },
  async run([target, ...more], options) {
    if (target === undefined)
      throw new UsageError(
        "invoke needs a module, such as fn.ts or fn.ts#name; see: rfaas help invoke",
      );
    if (more.length > 0)
      throw new UsageError(
        `invoke takes one module; "${more[0]}" is too many; give the function's input with --json or --input`,
      );
    const [module, named] = splitTarget(target);
    using progress = Progress.of(options);
    // Read here, because the library reads these variables as well but cannot name the wrong one.
    inherited(Options, "node");
    inherited(Options, "manager");

    const given = await readInput(options.json, options.input);
    const bytes = given ?? new Uint8Array(0);
    // The file is opened first: a path that cannot be written must not cost a call.
    using output = Output.open(options.output);
    await using taken = await takeLease(module, bytes.length, options, progress);
    const name = named ?? onlyFunction(module, taken.lease.functions);
    if (taken.lease.kindOf(name) === "raw") {
      const result = await callOnBytes(taken.lease, name, bytes, options);
      output.write(result);
      if (options.json !== undefined && output.isStdout && result.at(-1) !== NEWLINE)
        output.write(Uint8Array.of(NEWLINE));
      return;
    }
    const { value, inputBytes } = await valueFor(taken.lease, name, given);
    // The room was not planned for input from a pipe.
    const larger = inputBytes > bytes.length + VALUE_BUFFER_BYTES;
    if (larger) await taken[Symbol.asyncDispose]();
    await using roomy = larger ? await takeLease(module, inputBytes, options, progress) : undefined;
    const result = await callOnValue(roomy?.lease ?? taken.lease, name, value, options);
    output.write(Buffer.from(`${result}\n`));
  },
});

/** Room for the result of a call on so many bytes. */
const capacityFor = (inputBytes: number, { outputSize }: Options): number =>
  outputSize ?? Math.max(MIN_OUTPUT_BYTES, inputBytes);

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

/** What a function on values is called with, and how long it was as JSON. */
async function valueFor(
  lease: Lease,
  name: string,
  given: Uint8Array | undefined,
): Promise<{ value: unknown; inputBytes: number }> {
  const description = lease.describe(name);
  const nothing = kindNamed(description.kind).nothing(description);
  const needed = nothing === undefined;
  const text = given ?? (nothing?.sure ? undefined : await readPipedValue(name, needed));
  const value = text ? parseValue(text, name) : nothing?.value;
  return { value, inputBytes: text?.length ?? 0 };
}

/** Returns the result as JSON. */
async function callOnValue(
  lease: Lease,
  name: string,
  value: unknown,
  options: Options,
): Promise<string> {
  const { timings, ...each } = optionsFor(SubmitOptions, options);
  if (timings)
    throw new UsageError(
      `--timings is for functions that work on buffers, and "${name}" works on values; leave it out`,
    );
  const { repeat = 1 } = options;
  const call = lease.function<unknown>(name);
  const onProgress = ({ fraction, message }: CallProgress) =>
    log.info(`${Math.round(100 * fraction)} %${message === undefined ? "" : ` ${message}`}`);
  const startedNs = Bun.nanoseconds();
  let result: unknown;
  for (let done = 0; done < repeat; done += lease.workers) {
    const calls = Array.from({ length: Math.min(lease.workers, repeat - done) }, (_, worker) =>
      call(value, { ...each, onProgress, worker }),
    );
    result = (await Promise.all(calls)).at(-1);
  }
  if (repeat > 1) logMean(repeat, Bun.nanoseconds() - startedNs);
  return toJson(result);
}

async function callOnBytes(
  lease: Lease,
  name: string,
  bytes: Uint8Array,
  options: Options,
): Promise<Uint8Array> {
  const { repeat = 1 } = options;
  const { timings = false, ...each } = optionsFor(SubmitOptions, options);
  const input = lease.input(Uint8Array, bytes.length);
  input.set(bytes);
  const outputs = Array.from({ length: lease.workers }, () =>
    lease.output(Uint8Array, capacityFor(bytes.length, options)),
  );
  const startedNs = Bun.nanoseconds();
  for (let done = 0; done < repeat - 1;) {
    const batch = outputs.slice(0, repeat - 1 - done);
    await Promise.all(
      batch.map((output, worker) => lease.submit(name, input, output, { ...each, worker })),
    );
    done += batch.length;
  }
  const output = outputs[0]!;
  const call = lease.submit(name, input, output, { ...each, worker: 0, timings });
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

function logMean(calls: number, elapsedNs: number): void {
  log.info(
    `${countOf(calls, "call")} in ${(elapsedNs / 1e6).toFixed(1)} ms: ${(elapsedNs / calls / 1000).toFixed(2)} us a call`,
  );
}

function showLine({ level, message, data }: LeaseEventOf<"log">): void {
  log[level](data === undefined ? message : `${message} ${JSON.stringify(data)}`);
}

interface TakenLease extends AsyncDisposable {
  lease: Lease;
}

/**
 * A lease for an input of so many bytes, on the node that is named, or on one of those of a manager or a list. Ends with its
 * connections.
 */
async function takeLease(
  module: string,
  inputBytes: number,
  options: Options,
  progress: Progress,
): Promise<TakenLease> {
  requireOneOf(options, "node", "manager", "nodes");
  const { workers = 1, node, manager, nodes } = options;
  const allocation: AllocateOptions = {
    ...optionsFor(AllocateOptions, options),
    memory: memoryFor(inputBytes, workers, capacityFor(inputBytes, options)),
    onLog: showLine,
    onProgress: progress.upload(`loading ${module}`),
  };
  const fabric = readFabric(options);
  await using stack = new AsyncDisposableStack();
  const where =
    manager !== undefined
      ? { manager }
      : nodes !== undefined
        ? { nodes }
        : node !== undefined
          ? { node }
          : {};
  progress.step(connecting({ node, manager, nodes }));
  const { insecure, sandbox } = options;
  const more = { ...(insecure && { insecure }), ...(sandbox !== undefined && { sandbox }) };
  const rf = stack.use(await invoker({ ...fabric, ...where, ...more }));
  progress.step(`bundling and loading ${module}`);
  // All on one node: the calls share one input.
  const lease = await rf.allocate(module, { ...allocation, nodes: 1 });
  progress.end();
  const kept = stack.move();
  return { lease, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
