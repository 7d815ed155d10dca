/** `rfaas package`: makes packages, and looks after those of a node. */
import { basename, dirname, extname, join, resolve } from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import type { Invoker } from "../client/cluster/invoker.ts";
import { invoker } from "../client/invoker.ts";
import { UsageError } from "../base/errors.ts";
import { ARCHIVE_EXTENSION, writeArchive } from "../package/contents/archive.ts";
import { buildPackage } from "../package/builder.ts";
import { countOf, formatBytes } from "../base/units.ts";
import { InvokerOptions } from "../client/options/connect-options.ts";
import { inherited, optionsFor } from "../options/flags.ts";
import { PackageOptions } from "../package/options.ts";
import { defineCommand } from "./shared/command.ts";
import { jsonField, pathField } from "./shared/fields.ts";
import { log } from "./shared/log.ts";
import { Progress, connecting, progressFields } from "./shared/progress.ts";
import { printable, table } from "./shared/table.ts";

const Options = Type.Object({
  output: pathField("file", {
    description: "for build: where to write",
    otherwise: "FILE.rfaas",
    short: "o",
  }),
  ...PackageOptions.properties,
  node: InvokerOptions.properties.node,
  ...jsonField("for ls: one JSON object"),
  ...progressFields,
});
type Options = Static<typeof Options>;

type Verb = (target: string | undefined, options: Options, progress: Progress) => Promise<void>;

const VERBS: Record<string, Verb> = {
  build,
  push,
  ls,
  rm,
};

export const packageCommand = defineCommand({
  usage: "package <build|push|ls|rm> [FILE|HASH]",
  summary: "make packages of functions, and look after those of a node",
  description: `build  bundles a module with its imports into one file, FILE.rfaas
push   brings a module or a .rfaas file to a node, and prints its hash
ls     lists the packages that a node has
rm     removes one from a node, by its hash or the first digits of it

A package is what a node loads functions from. rfaas invoke and the library make and send packages by themselves; a .rfaas file, a
tar, is for handing functions on without their sources and node_modules. The same sources in the same place make the same package, and its
hash is its name everywhere: rfaas invoke package:HASH#function calls it on a node that has it.`,
  options: Options,
  examples: [
    ["rfaas package build fn.ts --include model.onnx", "writes fn.rfaas"],
    ["rfaas package push fn.rfaas --node 10.0.0.5:7700", "prints the hash"],
    ["rfaas package ls --node 10.0.0.5:7700", "what the node has"],
  ],
  completes: ([verb, name]) =>
    name !== undefined || verb === "ls" ? undefined : verb === "rm" ? "package" : "file",
  async run(args, options) {
    const [verb = "", target, ...more] = args;
    const run = Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined;
    if (!run || more.length > 0)
      throw new UsageError(
        `package takes ${Object.keys(VERBS).join(", ")} and a name; see: rfaas help package`,
      );
    using progress = Progress.of(options);
    await run(target, options, progress);
  },
});

async function build(
  target: string | undefined,
  options: Options,
  progress: Progress,
): Promise<void> {
  if (target === undefined) throw new UsageError("package build needs a module, such as fn.ts");
  const path = resolve(target);
  progress.step(`bundling ${target}`);
  const { package: made, warnings } = await buildPackage(path, optionsFor(PackageOptions, options));
  for (const warning of warnings) log.warn(warning);
  const beside = join(dirname(path), `${basename(path, extname(path))}${ARCHIVE_EXTENSION}`);
  const output = options.output === undefined ? beside : resolve(options.output);
  if (output === path)
    throw new UsageError(`${output} is the module itself; choose another --output`);
  progress.step(`writing ${output}`);
  await writeArchive(output, made);
  progress.end();
  log.info(
    `wrote ${output}: ${countOf(made.manifest.files.length, "file")}, ${formatBytes(made.bytes)}, ${made.hash}`,
  );
}

async function push(
  target: string | undefined,
  options: Options,
  progress: Progress,
): Promise<void> {
  if (target === undefined) throw new UsageError("package push needs a module or a .rfaas file");
  await using node = await nodeOf(options, progress);
  progress.step(`bundling ${target}`);
  const onProgress = progress.upload("storing the package");
  const hash = await node.packages.push(target, {
    ...optionsFor(PackageOptions, options),
    onProgress,
  });
  progress.end();
  process.stdout.write(`${hash}\n`);
}

async function ls(target: string | undefined, options: Options, progress: Progress): Promise<void> {
  if (target !== undefined) throw new UsageError(`package ls takes no argument "${target}"`);
  await using node = await nodeOf(options, progress);
  const packages = await node.packages.list();
  if (options.json) return void process.stdout.write(`${JSON.stringify({ packages })}\n`);
  const lines = packages.map(({ hash, name, bytes, usedAtMs, leases }) => [
    hash,
    printable(name),
    formatBytes(bytes),
    new Date(usedAtMs).toISOString().slice(0, 19),
    String(leases),
  ]);
  process.stdout.write(table([["package", "name", "size", "last used", "leases"], ...lines], 2));
}

async function rm(target: string | undefined, options: Options, progress: Progress): Promise<void> {
  const digits = target?.replace(/^package:/, "");
  if (!digits || !/^[0-9a-f]{4,64}$/.test(digits))
    throw new UsageError(
      "package rm needs the hash of a package, or its first digits; see: rfaas package ls",
    );
  await using node = await nodeOf(options, progress);
  const found = (await node.packages.list()).filter(({ hash }) => hash.startsWith(digits));
  if (found.length !== 1)
    throw new UsageError(
      `${found.length === 0 ? "no package begins" : `${found.length} packages begin`} with ${digits}; see: rfaas package ls`,
    );
  await node.packages.remove(found[0]!.hash);
  log.info(`removed ${printable(found[0]!.name)} (${found[0]!.hash})`);
}

/** A private node has the cache of the user. */
async function nodeOf(options: Options, progress: Progress): Promise<Invoker> {
  const { node = inherited(Options, "node") } = options;
  return await progress.during(connecting({ node }), () =>
    invoker(node === undefined ? {} : { node }),
  );
}
