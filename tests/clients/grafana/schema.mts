// What Grafana's own schema says a dashboard is. Its enumerations are written as plain values in a
// file, and the options of a panel are its plugin's to say.
import type { DataQuery, Dashboard, Panel, RowPanel } from '@grafana/schema';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as timeseries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

type Plain<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends readonly (infer E)[]
      ? Plain<E>[]
      : T extends object
        ? { [K in keyof T]: Plain<T[K]> }
        : T;

type Query = DataQuery & {
  expr: string;
  legendFormat: string;
  range: boolean;
  instant: boolean;
};

type Of<Type extends string, Options, Custom> = Omit<Panel<Options, Custom>, 'type' | 'options' | 'targets'> & {
  type: Type;
  options: Options;
  targets: Query[];
};

type Panels =
  | Of<'stat', stat.Options, Record<string, never>>
  | Of<'timeseries', timeseries.Options, timeseries.FieldConfig>
  | RowPanel;

export type OutcropDashboard = Plain<Omit<Dashboard, 'panels'> & { panels: Panels[] }>;
