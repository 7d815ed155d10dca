/** Where effects are counted: a file, and a port for those whose room has no such file. A run writes its own in the place of this one. */
export const EFFECTS: string = "/dev/null";
export const COLLECTOR = { hostname: "127.0.0.1", port: 9 };
/** Where the machine's clock is set in the run: when the machine was started. */
export const MACHINE_STARTED_MS: number | undefined = undefined;
