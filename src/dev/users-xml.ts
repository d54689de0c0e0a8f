import type { HostUser } from './host/config';
import type { StackUser } from './stack-settings';

/** The role inside the engine that holds a user's rights. */
const roleOf = (user: StackUser): string => `user_${user.name}`;

/** A user as the host's HTTP interface knows it. */
export function hostUser(user: StackUser): HostUser {
  return { name: user.name, password: user.password, role: roleOf(user) };
}

/**
 * `users.xml` for the embedded engine, which runs every statement as `default`; names and passwords
 * are the HTTP interface's matter. Without other users `default` has all rights of its own; with
 * some it has them from a role, so that a statement can be run with the rights of another role only.
 *
 * Source: https://clickhouse.com/docs/operations/settings/settings-users
 */
export function usersXml(users: readonly StackUser[]): string {
  const roles = [{ role: 'all_rights', grants: ['ALL ON *.* WITH GRANT OPTION'] }, ...users.map((user) => ({ role: roleOf(user), grants: user.grants }))];
  const rights = users.length === 0 ? ALL_RIGHTS : grants([roles.map(({ role }) => `\`${role}\``).join(', ')]);
  return `<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <roles>${roles.map(({ role, grants: each }) => `<${escapeXml(role)}>${grants(each)}</${escapeXml(role)}>`).join('')}</roles>
  <users>
    <default>
      <password></password>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      ${rights}
    </default>
  </users>
</clickhouse>
`;
}

const ALL_RIGHTS = '<access_management>1</access_management><named_collection_control>1</named_collection_control>';

function grants(each: readonly string[]): string {
  return `<grants>${each.map((grant) => `<query>GRANT ${escapeXml(grant)}</query>`).join('')}</grants>`;
}

/** Text inside an XML element. */
export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
