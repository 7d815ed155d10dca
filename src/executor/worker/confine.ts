/** A thread of functions shares its process with others: what a function may not do to it. */

/** Besides to end it. Threads of `node:worker_threads` refuse the same. */
const OF_THE_PROCESS = [
  ...["abort", "chdir", "setuid", "seteuid", "setgid", "setegid", "setgroups", "initgroups"],
];

/** A function that ends or changes the process would do so to every call of its lease: it gets an error instead. */
export function confineToThread(): void {
  const exit = (code?: number | string | null): never => {
    throw Object.assign(
      new Error(`a function must not call process.exit(${code ?? ""}); return or throw instead`),
      {
        code: "RFAAS_EXIT_FORBIDDEN",
      },
    );
  };
  const own = process as unknown as Record<string, unknown>;
  own["exit"] = exit;
  own["reallyExit"] = exit;
  for (const name of OF_THE_PROCESS) own[name] = () => refuse(name);
  const { umask } = process;
  // It may be asked for, and not be changed.
  own["umask"] = (mask?: number | string) => (mask === undefined ? umask() : refuse("umask"));
}

function refuse(name: string): never {
  throw Object.assign(new Error(`a function must not call process.${name}()`), {
    code: "ERR_WORKER_UNSUPPORTED_OPERATION",
  });
}
