//! What an operator's drain means for our place in the catalogue: taken out for as long as it lasts, and entered again.

use crate::lifecycle::Withdrawal;
use crate::registration::Presence;

/// Has our own entry follow what operators want, until the process ends.
pub(super) async fn follow(withdrawal: Withdrawal, presence: Presence) {
    let mut is_withdrawn = false;
    loop {
        withdrawal.changed(is_withdrawn).await;
        is_withdrawn = !is_withdrawn;
        presence.withdraw(is_withdrawn);
    }
}
