/** Loads a function module in a worker thread. */
import { BUILT_IN, type FormatName, formatNameOf } from "../../library/format-names.ts";
import { toLoadErrorRecord } from "../results/error-record.ts";
import { LoadFailure, type LoadedModule, functionsOf } from "./loaded-module.ts";
import { enterPackage } from "../results/package-paths.ts";

/** Throws {@link LoadFailure}. */
type Loader = (path: string, name: string) => LoadedModule | Promise<LoadedModule>;

/** What loads a module of each binary format; itself loaded when one comes. */
const LOADERS: Readonly<Record<FormatName, () => Promise<Loader>>> = {
  native: async () => (await import("./native-loader.ts")).loadNative,
  wasm: async () => (await import("./wasm-loader.ts")).loadWasm,
};

/** The functions of the benchmarks, so that the executable can measure any node from an empty directory. */
const BUILT_INS: Record<string, () => Promise<Record<string, unknown>>> = {
  "rfaas:echo": async () => await import("../../../functions/echo/echo.ts"),
  "rfaas:paced": async () => await import("../../../functions/echo/paced.ts"),
};

/** Imports the module at an absolute path; messages call it `name`. Throws {@link LoadFailure}. */
export async function loadModule(path: string, name: string = path): Promise<LoadedModule> {
  const builtIn = path.startsWith(BUILT_IN);
  if (builtIn && !Object.hasOwn(BUILT_INS, path))
    throw notFound(`there is no module ${path} in rfaas; see: rfaas help bench`);
  const format = builtIn ? undefined : formatNameOf(path);
  if (format) {
    requireFile(path, name);
    return await (
      await LOADERS[format]()
    )(path, name);
  }
  if (!builtIn && /[?\\]/.test(path)) {
    const message = `the runtime cannot import a path with ? or \\ in it: ${path}; choose another --cache for the node`;
    throw new LoadFailure("RFAAS_MODULE_FAILED", { name: "ModulePath", message });
  }
  enterPackage(path);
  let namespace: Record<string, unknown>;
  try {
    namespace = builtIn ? await BUILT_INS[path]!() : (await wrapped(path)).namespace;
  } catch (error) {
    if (!builtIn) requireFile(path, name);
    throw new LoadFailure("RFAAS_MODULE_FAILED", toLoadErrorRecord(error));
  }
  return await functionsOf(namespace, name);
}

/** A module that exports a function `then` looks like a promise to `await`: it is handed over within another one. */
async function wrapped(path: string): Promise<{ namespace: Record<string, unknown> }> {
  const code = `export * as namespace from ${JSON.stringify(path)};`;
  return await import(`data:text/javascript;base64,${Buffer.from(code).toString("base64")}`);
}

/** Throws {@link LoadFailure}. Modules that load are not asked for: the question costs as much as the first call. */
function requireFile(path: string, name: string): void {
  const { statSync } = require("node:fs") as typeof import("node:fs");
  if (statSync(path, { throwIfNoEntry: false })?.isFile()) return;
  throw notFound(`the file of ${name} is gone from the node's cache; take a new lease`);
}

const notFound = (message: string): LoadFailure =>
  new LoadFailure("RFAAS_MODULE_NOT_FOUND", { name: "ModuleNotFound", message });
