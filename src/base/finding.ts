/** The report of `rfaas doctor` on one subject. */
export interface Finding {
  name: string;
  /** `missing`: rfaas cannot run. `slow`: it can, less well. `off`: not available, and not needed. */
  state: "ok" | "slow" | "missing" | "off";
  found: string;
  /** One command. */
  fix?: string;
}
