/** Where a manager is reached that other machines may reach, with whom to trust there: kept for those who make join tokens. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { EnvironmentError } from "../../base/errors.ts";
import { replaceFile, unusable } from "../../trust/files.ts";

const NAME = "manager-address";

/** Writes nothing where it is kept already: a manager starts again on a disk that is full. Throws {@link EnvironmentError}. */
export function keepManagerAddress(stateDir: string, address: string): void {
  const path = join(stateDir, NAME);
  if (existsSync(path) && readFileSync(path, "utf8").trim() === address) return;
  replaceFile(path, `${address}\n`, 0o644);
}

/** As the manager that last ran with this state was reached, `rfaas://..`. Throws {@link EnvironmentError}. */
export function managerAddressIn(stateDir: string): string {
  const path = join(stateDir, NAME);
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw unusable(path, error);
    throw new EnvironmentError(
      `no manager that other machines reach has run with its state in ${stateDir}; start it first (rfaas manager --listen 0.0.0.0:7800), or name its state with --state DIR`,
    );
  }
}
