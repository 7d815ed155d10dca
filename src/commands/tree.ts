/** The command tree. Each command is loaded only when it is called, so that `--version` costs nothing. */
import {
  EXIT,
  FunctionError,
  ModuleLoadError,
  RfaasError,
  UsageError,
  exitCode,
} from "../base/errors.ts";
import { enterRole } from "../base/process.ts";
import { isSystemError, reasonOf } from "../base/system-errors.ts";
import { showNoWarnings, showWarningsBy } from "../base/warnings.ts";
import { type Command, type CommandTree, commandsOf } from "./shared/command.ts";

const COMMANDS: Record<string, () => Promise<Command>> = {
  serve: async () => (await import("./serve.ts")).serve,
  manager: async () => (await import("./manager.ts")).manager,
  node: async () => (await import("./node.ts")).node,
  token: async () => (await import("./token.ts")).token,
  user: async () => (await import("./user.ts")).user,
  ps: async () => (await import("./ps.ts")).ps,
  bill: async () => (await import("./bill.ts")).bill,
  package: async () => (await import("./package.ts")).packageCommand,
  invoke: async () => (await import("./invoke.ts")).invoke,
  run: async () => (await import("./run/run.ts")).run,
  new: async () => (await import("./new/new.ts")).newProject,
  test: async () => (await import("./test.ts")).test,
  bench: async () => (await import("./bench.ts")).bench,
  doctor: async () => (await import("./doctor.ts")).doctor,
  completion: async () => (await import("./completion/completion.ts")).completion,
  help: async () => (await import("./manual/help.ts")).help,
  __bundle: async () => (await import("./internal/bundle.ts")).bundle,
  __node: async () => (await import("./internal/private-node.ts")).privateNode,
  __shim: async () => (await import("./internal/shim.ts")).shim,
};

const tree: CommandTree = {
  names: Object.keys(COMMANDS).filter((name) => !name.startsWith("__")),
  load,
};

/** Those that people use, in the order of the overview. */
export const visibleCommands = (): Promise<Command[]> => commandsOf(tree);

/** Runs one command line and sets the exit code. Never throws. */
export async function runCommandLine(argv: string[]): Promise<void> {
  process.stdout.on("error", outputFailed);
  // A failed write to stderr cannot be reported anywhere.
  if (process.stderr.listenerCount("error") === 0) process.stderr.on("error", () => {});
  try {
    await enter(argv[0]);
    await dispatch(argv);
  } catch (error) {
    await explain(error, argv[0] ?? "");
    process.exit(exitCode(error));
  }
}

/** Refuses to be what this process was started as, in the words of that role where it has some. */
async function enter(command: string | undefined): Promise<void> {
  try {
    enterRole(command);
  } catch (error) {
    const { answerRefused } = await import("./shared/refusal.ts");
    if (error instanceof RfaasError && (await answerRefused(command ?? "", error)))
      process.exit(EXIT.ok);
    throw error;
  }
}

/** Ends the process because stdout cannot be written. */
export function outputFailed(error: unknown): never {
  // The reader of the output may close the pipe early, as `head` does.
  if ((error as NodeJS.ErrnoException).code === "EPIPE") process.exit(EXIT.ok);
  process.stderr.write(`cannot write to stdout: ${reasonOf(error)}\n`);
  process.exit(EXIT.failed);
}

async function dispatch(argv: string[]): Promise<void> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "--help" || name === "-h") {
    const { overview } = await import("./shared/manual.ts");
    process.stdout.write(overview(await visibleCommands()));
    return;
  }
  if (name === "__complete") {
    // No command line of its own: what it loads, a shell waits for.
    showNoWarnings();
    const { complete } = await import("./completion/complete.ts");
    return await complete(rest, tree);
  }
  const command = await load(name);
  const own = rest.includes("--") ? rest.slice(0, rest.indexOf("--")) : rest;
  if (own.includes("--help") || own.includes("-h")) {
    const { manual } = await import("./shared/manual.ts");
    process.stdout.write(manual(command));
    return;
  }
  showWarningsBy(
    (message, level) => void import("./shared/log.ts").then(({ log }) => log[level](message)),
  );
  const { readCommandLine } = await import("./shared/command-line.ts");
  const { args, options, rest: passed } = readCommandLine(command, rest);
  await command.run(args, options, passed, tree);
}

async function load(name: string): Promise<Command> {
  const found = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (found) return await found();
  if (/\.[cm]?[jt]sx?$/.test(name))
    throw new UsageError(`${name} is no command; to run a script: rfaas run ${name}`);
  const { nearest } = await import("../base/near-names.ts");
  const suggestion = nearest(
    name,
    name.startsWith("-") ? ["--help", "--version"] : [...tree.names, "version"],
  );
  const what = name.startsWith("-") ? "option" : "command";
  throw new UsageError(
    `unknown ${what} "${name}"; ${suggestion ? `did you mean "${suggestion}"? See` : "see"}: rfaas help`,
  );
}

/** The error's message in the words of the command. */
async function worded(name: string, { message }: Error): Promise<string> {
  if (!Object.hasOwn(COMMANDS, name)) return message;
  const { inTerms } = await import("./shared/terms.ts");
  return inTerms(await COMMANDS[name]!(), message);
}

/** One message for people. A stack only for a defect of our own. */
async function explain(error: unknown, command: string): Promise<void> {
  const { log } = await import("./shared/log.ts");
  if (error instanceof RfaasError) {
    const own = error as { remoteStack?: string; errors?: readonly Error[] };
    // The error of a function is shown in its own words.
    const message = error instanceof FunctionError ? error.message : await worded(command, error);
    log.error(error.name === "UsageError" ? message : `${error.name}: ${message}`);
    if (own.remoteStack) {
      log.log(own.remoteStack);
      for (let { cause } = error; cause instanceof Error; { cause } = cause)
        log.log(`caused by ${cause.stack ?? String(cause)}`);
      for (const one of own.errors ?? []) log.log(`one of its errors: ${one.stack ?? String(one)}`);
    }
    const { cause } = error;
    // The author's module threw as it was loaded.
    if (error instanceof ModuleLoadError && cause instanceof Error && /\n +at /.test(cause.stack!))
      log.log(cause.stack);
  } else if (error instanceof Error && error.name === "ShimUnavailable") log.error(error.message);
  else if (isSystemError(error)) log.error(`${error.message} (${reasonOf(error)})`);
  else log.error(error);
}
