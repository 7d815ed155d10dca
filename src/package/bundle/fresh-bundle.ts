/**
 * Bundles with the files as they are now. The compiler of a process remembers what folders, `tsconfig.json` and `package.json` it has
 * seen, and does not see what comes to them later: then another process compiles.
 */
import { basename } from "node:path";
import { Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import {
  EnvironmentError,
  ModuleLoadError,
  PackageInvalid,
  UsageError,
  VersionMismatch,
} from "../../base/errors.ts";
import { keepChild, roleEnvironment, selfCommand } from "../../base/process.ts";
import { type Bundle, bundleModule, settingsOf } from "./bundle.ts";
import { FolderMemory } from "./folder-memory.ts";
import { LeftToAnother } from "./module-graph.ts";
import { stampOf } from "./stamp.ts";

/** The output of a process that bundles for another one. */
const Answer = Type.Union([
  Type.Object({
    entry: Type.String(),
    inputs: Type.Array(Type.String()),
    doubtful: Type.Boolean(),
    origins: Type.Array(Type.Object({ prefix: Type.String(), folder: Type.String() })),
    absent: Type.Array(Type.Object({ module: Type.String(), name: Type.Optional(Type.String()) })),
    files: Type.Array(
      Type.Object({
        path: Type.String(),
        executable: Type.Boolean(),
        /** Base64, or where the bytes lie. */
        content: Type.Union([Type.String(), Type.Object({ path: Type.String() })]),
      }),
    ),
  }),
  Type.Object({ kind: Type.String(), code: Type.String(), message: Type.String() }),
]);

/** Settings as the compiler of this process has seen them first. */
const seen = new Map<string, string>();
const memory = new FolderMemory();
/** What describes the packages of npm that a module was bundled with. */
const descriptions = new Map<string, readonly string[]>();
const MAX_DESCRIBED = 1000;

/** As {@link bundleModule}, of the files as they are at this moment. */
export async function bundleFreshly(path: string, external: readonly string[]): Promise<Bundle> {
  const known = changedSettings([...settingsOf(path), ...(descriptions.get(path) ?? [])])
    ? undefined
    : await bundleHere(path, external);
  const bundle = known ?? (await bundleElsewhere(path, external));
  const described = bundle.inputs.filter((input) => basename(input) === "package.json");
  changedSettings(described);
  if (descriptions.size >= MAX_DESCRIBED) descriptions.clear();
  descriptions.set(path, described);
  return bundle;
}

/** Bundles in this process; undefined when its resolver may have seen older folders. */
async function bundleHere(path: string, external: readonly string[]): Promise<Bundle | undefined> {
  try {
    const bundle = await bundleModule(path, external, memory);
    return bundle.doubtful ? undefined : bundle;
  } catch (error) {
    if (error instanceof LeftToAnother) return undefined;
    const missing = /Could not resolve|ModuleNotFound|external: .* is not installed/;
    if (missing.test((error as Error).message)) return undefined;
    throw error;
  }
}

/** Whether any of the files has changed since the first call for it. */
function changedSettings(files: readonly string[]): boolean {
  let changed = false;
  for (const file of files) {
    const stamp = stampOf(file);
    const before = seen.get(file);
    if (before === undefined) seen.set(file, stamp);
    else if (before !== stamp) changed = true;
  }
  return changed;
}

/** Bundles in a fresh process, whose resolver remembers nothing. */
async function bundleElsewhere(path: string, external: readonly string[]): Promise<Bundle> {
  const flags = external.flatMap((name) => ["--external", name]);
  const child = Bun.spawn(selfCommand(["__bundle", path, ...flags]), {
    stdio: ["ignore", "pipe", 2],
    env: roleEnvironment("__bundle"),
  });
  keepChild(child);
  const text = await child.stdout.text();
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch (cause) {
    throw new EnvironmentError(
      `the process that compiles ${path} ended early; its messages are above, try again`,
      { cause },
    );
  }
  if (!Value.Check(Answer, answer))
    throw new EnvironmentError(
      `the process that compiles ${path} is of another version; check RFAAS_EXECUTABLE`,
    );
  if ("kind" in answer) throw errorOf(path, answer);
  return {
    ...answer,
    absent: answer.absent.map(({ module, name }) => ({ module, name })),
    files: answer.files.map(({ content, ...file }) => ({
      ...file,
      content: typeof content === "string" ? Uint8Array.fromBase64(content) : content,
    })),
  };
}

/** The output of the other process: {@link Answer}. */
export async function describeBundle(path: string, external: readonly string[]): Promise<string> {
  try {
    const bundle = await bundleModule(path, external);
    const files = bundle.files.map(({ content, ...file }) => ({
      ...file,
      content: content instanceof Uint8Array ? content.toBase64() : content,
    }));
    return JSON.stringify({ ...bundle, files });
  } catch (error) {
    return describeError(error as Error);
  }
}

/** Likewise, of why there is no bundle. */
export function describeError(error: Error & { code?: string | number }): string {
  const { name: kind, code = "", message } = error;
  return JSON.stringify({ kind, code: String(code), message });
}

function errorOf(path: string, answer: { kind: string; code: string; message: string }): Error {
  const { kind, code, message } = answer;
  if (kind === "UsageError") return new UsageError(message);
  if (kind === "PackageInvalid") return new PackageInvalid(message);
  if (kind === "VersionMismatch") return new VersionMismatch(message);
  if (kind === "EnvironmentError") return new EnvironmentError(message);
  return new ModuleLoadError(code || "RFAAS_MODULE_FAILED", path, message);
}
